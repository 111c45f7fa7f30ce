#pragma once

#include "math/abi.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

/// Coefficients of f(x) from f', f'' / 2, f''' / 6 in f[1], ... and those of x: up to s^kCount, or
/// with kMixed those of s, t and st. V is T or several T side by side.
template <int kCount, bool kMixed, typename V>
HESSCOPE_HD void compose_element(const V* f, const V (&x)[kCount], V (&out)[kCount]) {
  for (int k = 0; k < kCount; ++k) out[k] = f[1] * x[k];
  if constexpr (kMixed) {
    out[2] += 2 * f[2] * x[0] * x[1];
  } else {
    if constexpr (kCount >= 2) out[1] += f[2] * x[0] * x[0];
    if constexpr (kCount >= 3) out[2] += x[0] * (2 * f[2] * x[1] + f[3] * x[0] * x[0]);
  }
}

/// Coefficients of a product from the values and the coefficients of its factors.
template <int kCount, bool kMixed, typename V>
HESSCOPE_HD void multiply_element(const V& a0, const V (&a)[kCount], const V& b0,
                                  const V (&b)[kCount], V (&out)[kCount]) {
  for (int k = 0; k < kCount; ++k) {
    V sum = a0 * b[k] + a[k] * b0;
    if constexpr (kMixed) {
      if (k == 2) sum += a[0] * b[1] + a[1] * b[0];
    } else {
      for (int j = 0; j < k; ++j) sum += a[j] * b[k - 1 - j];
    }
    out[k] = sum;
  }
}

/// Coefficients of f(x), or of g f(x).
template <int kCount, bool kMixed, bool kProduct, typename V>
HESSCOPE_HD void pointwise_element(const V* f, const V (&x)[kCount], const V& g_value,
                                   const V (&g)[kCount], V (&out)[kCount]) {
  if constexpr (kProduct) {
    V inner[kCount];
    compose_element<kCount, kMixed>(f, x, inner);
    multiply_element<kCount, kMixed>(g_value, g, f[0], inner, out);
  } else {
    compose_element<kCount, kMixed>(f, x, out);
  }
}

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
