#pragma once

#include <cmath>
#include <cstdint>

#include "hesscope/types.h"
#include "math/elementary.h"
#include "math/philox.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

/// Which row of which family of probes. The key of Philox is the seed, its counter is
/// (block low, block high, probe, domain).
struct ProbeKey {
  std::uint64_t seed;
  std::uint32_t probe;
};

inline constexpr std::uint32_t kRademacherDomain = 0;
inline constexpr std::uint32_t kGaussianDomain = 1;
inline constexpr index_t kSignsPerBlock = 128;

HESSCOPE_HD PhiloxBlock probe_block(ProbeKey key, std::uint32_t domain, index_t block) {
  const auto counter = static_cast<std::uint64_t>(block);
  return philox(static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
                key.probe, domain, static_cast<std::uint32_t>(key.seed),
                static_cast<std::uint32_t>(key.seed >> 32));
}

/// Signs `position`, ..., `position + 31` of consecutive blocks, lowest bit first; a set bit is -1.
/// Sign i of a block is bit i mod 32 of its word i / 32. Reads words position / 32 and the next.
HESSCOPE_HD std::uint32_t sign_window(const std::uint32_t* word, int position) {
  const std::uint64_t two = word[position / 32] | std::uint64_t{word[position / 32 + 1]} << 32;
  return static_cast<std::uint32_t>(two >> (position % 32));
}

/// The upper 53 bits of a 64-bit number, as an integer in [0, 2^53).
HESSCOPE_HD double upper_53_bits(std::uint32_t low, std::uint32_t high) {
  return static_cast<double>(high) * 0x1p21 + static_cast<double>(low >> 11);
}

struct GaussianPair {
  double even, odd;
};

/// Numbers 2b and 2b + 1 of a Gaussian probe from its block b. Box and Muller (1958), with
/// u1 in (0, 1] and u2 in [0, 1) of 53 bits each; the largest magnitude is sqrt(106 ln 2) = 8.57.
HESSCOPE_HD GaussianPair gaussian_pair(std::uint32_t w0, std::uint32_t w1, std::uint32_t w2,
                                       std::uint32_t w3) {
  const double u1 = (upper_53_bits(w0, w1) + 1.0) * 0x1p-53;
  const double half_turns = upper_53_bits(w2, w3) * 0x1p-52;
  const double radius = std::sqrt(-2.0 * elementary::log(u1));
  const elementary::SinCos angle = elementary::sincospi(half_turns);
  return {radius * angle.cos, radius * angle.sin};
}

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
