#pragma once

#include "hesscope/types.h"
#include "math/abi.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

/// Where T[i, j, l], i <= j <= l < k, stands in packed storage: behind the entries with a smaller
/// first index, then behind those with a smaller second one.
HESSCOPE_HD int packed_tensor_index(int k, int i, int j, int l) {
  const int r = k - i, s = k - j;
  const int before_i = (k * (k + 1) * (k + 2) - r * (r + 1) * (r + 2)) / 6;
  return before_i + (r * (r + 1) - s * (s + 1)) / 2 + l - j;
}

/// The same for indices in any order.
HESSCOPE_HD int symmetric_tensor_index(int k, int a, int b, int c) {
  const int low = a < b ? a : b, high = a < b ? b : a;
  const int first = c < low ? c : low, last = c > high ? c : high;
  return packed_tensor_index(k, first, a + b + c - first - last, last);
}

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
