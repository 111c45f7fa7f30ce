#pragma once

#include "math/abi.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

/// Moments of one group for order kOrder, of x_k without its mean: mean[k - 1] of x_k,
/// along[k - 1] = mean(y x_k), and squares = {mean(x_1^2), mean(x_1 x_2)}.
template <int kOrder>
struct NormMoments {
  double mean[kOrder] = {}, along[kOrder] = {}, squares[2] = {};
};

/// r_k / r_0 for k = 1, ..., kOrder, where r = v^(-1/2) and v_k are the coefficients of the mean
/// square, in units of v_0 = 1 / r_0^2: k q_k = sum_j (j / 2 - k) v_j q_(k - j).
template <int kOrder>
HESSCOPE_HD void norm_ratios(const NormMoments<kOrder>& m, double rstd, double (&q)[kOrder]) {
  double v[kOrder];
  for (int k = 0; k < kOrder; ++k) v[k] = 2.0 * rstd * m.along[k];
  if constexpr (kOrder >= 2) v[1] += rstd * rstd * m.squares[0];
  if constexpr (kOrder >= 3) v[2] += 2.0 * rstd * rstd * m.squares[1];
  for (int k = 1; k <= kOrder; ++k) {
    double sum = (0.5 * k - k) * v[k - 1];
    for (int j = 1; j < k; ++j) sum += (0.5 * j - k) * v[j - 1] * q[k - j - 1];
    q[k - 1] = sum / k;
  }
}

/// y_k = r_0 (c_k + q_1 c_(k-1) + ... + q_(k-1) c_1) + q_k y, c_k = x_k - mean[k - 1]. V is T or
/// several T side by side.
template <int kOrder, typename V, typename T>
HESSCOPE_HD void norm_element(const V (&x)[kOrder], const V& y, T rstd, const T (&mean)[kOrder],
                              const T (&q)[kOrder], V (&out)[kOrder]) {
  V c[kOrder];
  for (int k = 0; k < kOrder; ++k) c[k] = x[k] - mean[k];
  for (int k = 0; k < kOrder; ++k) {
    V sum = c[k];
    for (int j = 0; j < k; ++j) sum += q[j] * c[k - 1 - j];
    out[k] = rstd * sum + q[k] * y;
  }
}

/// Moments of the coefficients of a group in the backward pass: mean(dg) and mean(y dg + dy g).
template <typename T>
struct NormBackwardGroup {
  T rstd, drstd, mean_dg, along_d, mean_g, along;
};

/// out = rstd (dg - mean(dg) - dy along - y along_d) + drstd (g - mean(g) - y along).
template <typename V, typename T>
HESSCOPE_HD void norm_backward_element(const NormBackwardGroup<T>& m, const V& dg, const V& dy,
                                       const V& g, const V& y, V& out) {
  const V first = dg - m.mean_dg - dy * m.along - y * m.along_d;
  out = m.rstd * first + m.drstd * (g - m.mean_g - y * m.along);
}

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
