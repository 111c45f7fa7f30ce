#pragma once

#include "math/abi.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

/// value = scale * (f[0] t[0] + ...) + (add ? value : 0), kCount terms in their order. V is T or
/// several T side by side.
template <int kCount, typename V, typename T>
HESSCOPE_HD void factor_sum_element(const V (&factor)[kCount], const V (&tangent)[kCount], T scale,
                                    bool add, V& value) {
  V sum = factor[0] * tangent[0];
  for (int j = 1; j < kCount; ++j) sum += factor[j] * tangent[j];
  sum *= scale;
  if (add) sum += value;
  value = sum;
}

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
