#pragma once

#include "math/abi.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

/// The quotient of exponentials, with b_k = y_k / p: a = exp(x - x_0), from k a_k = sum_j j c_j
/// a_(k-j) with c_k = x_k - <p, x_k>, and b_k = a_k - sum_j S_j b_(k-j) with S_k = <p, a_k>. Since
/// S_1 = <p, c_k> = 0,
///
///   S_2 = <p, c_1^2 / 2>,   S_3 = <p, c_1 c_2 + c_1^3 / 6>,
///
/// and the coefficients of log sum exp, less the means, are S_2 and S_3 themselves.
template <typename V>
HESSCOPE_HD void softmax_second(const V& c1, V& out) {
  out = c1 * c1 / 2;
}
template <typename V>
HESSCOPE_HD void softmax_third(const V& c1, const V& c2, V& out) {
  out = c1 * (c2 + c1 * c1 / 6);
}

/// What the sums over a row give: <p, x_k>, and S_2 and S_3.
template <int kOrder, typename T>
struct SoftmaxMoments {
  T mean[kOrder] = {}, sum[2] = {};
};

/// Coefficients of w p, or of w log p. V is T or several T side by side.
template <int kOrder, bool kLogarithm, typename V, typename T>
HESSCOPE_HD void softmax_element(const V (&x)[kOrder], const V& p, T w,
                                 const SoftmaxMoments<kOrder, T>& m, V (&out)[kOrder]) {
  V c[kOrder];
  for (int k = 0; k < kOrder; ++k) c[k] = x[k] - m.mean[k];
  if constexpr (kLogarithm) {
    out[0] = w * c[0];
    for (int k = 1; k < kOrder; ++k) out[k] = w * (c[k] - m.sum[k - 1]);
  } else {
    const V scale = w * p;
    V part;
    out[0] = scale * c[0];
    if constexpr (kOrder >= 2) {
      softmax_second(c[0], part);
      out[1] = scale * (c[1] + (part - m.sum[0]));
    }
    if constexpr (kOrder >= 3) {
      softmax_third(c[0], c[1], part);
      out[2] = scale * (c[2] + (part - m.sum[0] * c[0] - m.sum[1]));
    }
  }
}

/// p (dg - along_d) + dp (g - along), along_d = <p, dg> + <g, dp>.
template <typename V, typename T>
HESSCOPE_HD void softmax_backward_element(const V& dg, const V& dp, const V& g, const V& p, T along,
                                          T along_d, V& out) {
  out = p * (dg - along_d) + dp * (g - along);
}

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
