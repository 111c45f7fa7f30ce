#include "hesscope/lanczos.h"

#include <cmath>
#include <limits>

#include "kernels/lanczos_kernels.h"

namespace hesscope::reference {
namespace {

template <typename T>
void clear(T* row,  // [n]
           index_t n) {
  for (index_t i = 0; i < n; ++i) row[i] = 0;
}

}  // namespace

template <typename T>
void lanczos_update(const Context&, MatrixView<const T> w, MatrixView<const T> v,
                    MatrixView<const T> v_prev, MatrixView<T> next, MatrixView<double> state,
                    VectorView<double> alpha, VectorView<double> beta, double breakdown_tolerance) {
  using Wide = long double;
  const index_t n = w.cols;
  for (index_t k = 0; k < w.rows; ++k) {
    double* s = state.row(k);
    alpha[k] = beta[k] = 0;
    if (s[kLanczosScale] == 0) {
      clear(next.row(k), n);
      continue;
    }
    const Wide scale = s[kLanczosScale];
    const bool first = s[kLanczosScalePrev] == 0 || s[kLanczosBetaPrev] == 0;
    const Wide coupling = first ? Wide(0) : Wide(s[kLanczosBetaPrev]) * Wide(s[kLanczosScalePrev]);
    const auto residual = [&](index_t i) {
      const Wide product = scale * static_cast<Wide>(w.row(k)[i]);
      return first ? product : product - coupling * static_cast<Wide>(v_prev.row(k)[i]);
    };

    Wide sum = 0;
    for (index_t i = 0; i < n; ++i) sum += scale * static_cast<Wide>(v.row(k)[i]) * residual(i);
    alpha[k] = static_cast<double>(sum);
    Wide squares = 0;
    for (index_t i = 0; i < n; ++i) {
      const Wide element = residual(i) - sum * scale * static_cast<Wide>(v.row(k)[i]);
      next.row(k)[i] = static_cast<T>(element);
      squares += static_cast<Wide>(next.row(k)[i]) * static_cast<Wide>(next.row(k)[i]);
    }
    beta[k] = static_cast<double>(std::sqrt(squares));

    const double size = std::abs(alpha[k]) + beta[k];
    if (!(size <= s[kLanczosLargest])) s[kLanczosLargest] = size;
    if (std::isfinite(s[kLanczosLargest]) && beta[k] <= breakdown_tolerance * s[kLanczosLargest]) {
      beta[k] = 0;
      clear(next.row(k), n);
    }
    s[kLanczosScalePrev] = s[kLanczosScale];
    s[kLanczosBetaPrev] = beta[k];
    s[kLanczosScale] = beta[k] == 0 ? 0 : 1 / beta[k];
  }
}

HESSCOPE_INSTANTIATE_LANCZOS(float)
HESSCOPE_INSTANTIATE_LANCZOS(double)

}  // namespace hesscope::reference
