#pragma once

#include "math/abi.h"
#include "math/widen.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

/// a * b + sum in float64. The product of two float32 is exact in float64, so for float32 it does
/// not matter whether a compiler fuses this; for float64 fused and unfused differ by one rounding,
/// inside the bound. Not std::fma: without -mfma it is a library call per element.
template <typename A, typename B>
HESSCOPE_HD double mul_add(A a, B b, double sum) {
  return widen(a) * widen(b) + sum;
}

/// Sums in this many interleaved chains vectorise without -ffast-math, and the order of additions
/// is fixed by the source, not by the compiler: element i goes to chain i mod kChains.
inline constexpr int kChains = 16;

/// Chains added pairwise: (0 + 8), (1 + 9), ..., then halves again.
HESSCOPE_HD double add_chains(double (&sum)[kChains]) {
  for (int width = kChains / 2; width > 0; width /= 2) {
    for (int lane = 0; lane < width; ++lane) sum[lane] += sum[lane + width];
  }
  return sum[0];
}

/// sum_{i < count} a[i] * b[i].
template <typename A, typename B>
HESSCOPE_HD double dot_range(const A* a, const B* b, index_t count) {
  double sum[kChains] = {};
  index_t i = 0;
  for (; i + kChains <= count; i += kChains) {
    for (int lane = 0; lane < kChains; ++lane) {
      sum[lane] = mul_add(a[i + lane], b[i + lane], sum[lane]);
    }
  }
  for (int lane = 0; i + lane < count; ++lane) {
    sum[lane] = mul_add(a[i + lane], b[i + lane], sum[lane]);
  }
  return add_chains(sum);
}

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
