#pragma once

#include <bit>
#include <cstdint>

#include "math/abi.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

// The bits of a number as an integer, and back. std::bit_cast is no device function.

HESSCOPE_HD std::uint64_t to_bits(double x) {
#if defined(__CUDA_ARCH__)
  return static_cast<std::uint64_t>(__double_as_longlong(x));
#else
  return std::bit_cast<std::uint64_t>(x);
#endif
}

HESSCOPE_HD double from_bits(std::uint64_t bits) {
#if defined(__CUDA_ARCH__)
  return __longlong_as_double(static_cast<long long>(bits));
#else
  return std::bit_cast<double>(bits);
#endif
}

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
