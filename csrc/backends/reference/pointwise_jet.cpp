#include <vector>

#include "kernels/pointwise_jet_kernels.h"

namespace hesscope::reference {
namespace {

/// A polynomial in s and t: the exponents of each coefficient, the value being the first.
struct Exponents {
  int s, t;
};

std::vector<Exponents> exponents_of(Monomials monomials) {
  if (monomials == Monomials::mixed) return {{0, 0}, {1, 0}, {0, 1}, {1, 1}};
  std::vector<Exponents> found;
  for (int k = 0; k <= count_of(monomials); ++k) found.push_back({k, 0});
  return found;
}

using Polynomial = std::vector<long double>;

Polynomial multiply(const std::vector<Exponents>& e, const Polynomial& a, const Polynomial& b) {
  Polynomial out(e.size(), 0.0L);
  for (std::size_t i = 0; i < e.size(); ++i) {
    for (std::size_t j = 0; j < e.size(); ++j) {
      for (std::size_t k = 0; k < e.size(); ++k) {
        if (e[i].s + e[j].s == e[k].s && e[i].t + e[j].t == e[k].t) out[k] += a[i] * b[j];
      }
    }
  }
  return out;
}

template <typename T>
Polynomial read(const T* value, index_t i, const T* const (&tensors)[kMaxMonomials], index_t at,
                std::size_t count) {
  Polynomial found = {value == nullptr ? 0.0L : static_cast<long double>(value[i])};
  for (std::size_t k = 0; k < count; ++k) {
    found.push_back(tensors[k] == nullptr ? 0.0L : static_cast<long double>(tensors[k][at]));
  }
  return found;
}

}  // namespace

// u = x - x_0; f(x) = f_0 + u (f_1 + u (f_2 + u f_3)), and times g.
template <typename T>
void pointwise_jet(const Context&, const PointwiseJet<T>& jet) {
  const std::vector<Exponents> e = exponents_of(jet.monomials);
  const std::size_t count = e.size() - 1;
  for (index_t at = 0; at < jet.probes * jet.size; ++at) {
    const index_t i = at % jet.size;
    const Polynomial u = read<T>(nullptr, i, jet.x, at, count);
    Polynomial y(e.size(), 0.0L);
    for (int d = order_of(jet.monomials); d >= 0; --d) {
      y = multiply(e, y, u);
      y[0] += d == 0 && jet.g_value == nullptr ? 0.0L : jet.taylor[d][i];
    }
    if (jet.g_value != nullptr) y = multiply(e, y, read<T>(jet.g_value, i, jet.g, at, count));
    for (std::size_t k = 0; k < count; ++k) {
      if (jet.out[k] != nullptr) jet.out[k][at] = static_cast<T>(y[k + 1]);
    }
  }
}

HESSCOPE_INSTANTIATE_POINTWISE_JET(float)
HESSCOPE_INSTANTIATE_POINTWISE_JET(double)

}  // namespace hesscope::reference
