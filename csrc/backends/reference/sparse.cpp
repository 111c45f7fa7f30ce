#include <cmath>

#include "kernels/sparse_kernels.h"
#include "math/lanczos.h"

namespace hesscope::reference {

template <typename T, typename I>
void csr_matvec(const Context&, VectorView<const std::int64_t> row_start,
                VectorView<const I> columns, VectorView<const T> values, MatrixView<const T> x,
                MatrixView<T> y) {
  for (index_t r = 0; r < y.rows; ++r) {
    for (index_t i = 0; i < y.cols; ++i) {
      long double sum = 0;
      for (index_t p = row_start[i]; p < row_start[i + 1]; ++p) {
        sum += static_cast<long double>(values[p]) * static_cast<long double>(x.row(r)[columns[p]]);
      }
      y.row(r)[i] = static_cast<T>(sum);
    }
  }
}

template <typename T, typename I>
void csr_lanczos_update(const Context&, const CsrMatrix<T, I>& a, MatrixView<const T> v,
                        MatrixView<T> v_prev, MatrixView<double> state, VectorView<double> alpha,
                        VectorView<double> beta, double breakdown_tolerance) {
  using Wide = long double;
  for (index_t k = 0; k < v.cols; ++k) {
    const bool inside = k < state.rows;
    LanczosRecord record = inside ? lanczos_read(state.row(k)) : LanczosRecord{};
    const LanczosRow row = lanczos_row(record);
    const auto clear = [&] {
      for (index_t i = 0; i < a.n; ++i) v_prev.row(i)[k] = 0;
    };
    if (row.frozen) {
      clear();
      if (inside) alpha[k] = beta[k] = 0;
      continue;
    }
    Wide sum = 0;
    for (index_t i = 0; i < a.n; ++i) {
      Wide product = 0;
      for (index_t p = a.row_start[i]; p < a.row_start[i + 1]; ++p) {
        product += static_cast<Wide>(a.values[p]) * static_cast<Wide>(v.row(a.columns[p])[k]);
      }
      Wide r = row.scale * product;
      if (!row.first) r -= row.coupling * static_cast<Wide>(v_prev.row(i)[k]);
      v_prev.row(i)[k] = static_cast<T>(r);
      sum += static_cast<Wide>(v.row(i)[k]) * static_cast<Wide>(v_prev.row(i)[k]);
    }
    sum *= row.scale;
    Wide squares = 0;
    for (index_t i = 0; i < a.n; ++i) {
      const Wide shift = sum * row.scale * static_cast<Wide>(v.row(i)[k]);
      v_prev.row(i)[k] = static_cast<T>(static_cast<Wide>(v_prev.row(i)[k]) - shift);
      squares += static_cast<Wide>(v_prev.row(i)[k]) * static_cast<Wide>(v_prev.row(i)[k]);
    }
    alpha[k] = static_cast<double>(sum);
    beta[k] = lanczos_advance(record, alpha[k], static_cast<double>(squares), breakdown_tolerance);
    if (beta[k] == 0) clear();
    lanczos_write(record, state.row(k));
  }
}

HESSCOPE_FOR_EACH_CSR_TYPE(HESSCOPE_INSTANTIATE_SPARSE)

}  // namespace hesscope::reference
