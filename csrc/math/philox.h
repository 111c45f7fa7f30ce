#pragma once

#include <cstdint>

#include "math/abi.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

struct PhiloxBlock {
  std::uint32_t word[4];
};

/// Philox 4x32-10: 128 random bits that are a function of a counter and a key. Salmon, Moraes, Dror
/// and Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3"; it passes all of BigCrush.
/// Straight-line code, so that a loop over counters vectorises.
HESSCOPE_HD PhiloxBlock philox(std::uint32_t c0, std::uint32_t c1, std::uint32_t c2,
                               std::uint32_t c3, std::uint32_t key0, std::uint32_t key1) {
#if defined(__CUDACC__)
#pragma unroll
#else
#pragma GCC unroll 10
#endif
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c0;
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ key0;
    c1 = static_cast<std::uint32_t>(p1);
    c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ key1;
    c3 = static_cast<std::uint32_t>(p0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
