#pragma once

#include <bit>
#include <cstdint>

#include "hesscope/types.h"
#include "math/abi.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

/// Storage to float64, exactly.
HESSCOPE_HD double widen(float x) { return static_cast<double>(x); }
HESSCOPE_HD double widen(double x) { return x; }
HESSCOPE_HD double widen(bfloat16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x.bits) << 16;
#if defined(__CUDA_ARCH__)
  return static_cast<double>(__uint_as_float(bits));
#else
  return static_cast<double>(std::bit_cast<float>(bits));
#endif
}

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
