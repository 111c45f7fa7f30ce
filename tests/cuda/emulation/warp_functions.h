#pragma once

/// CUDA's warp intrinsics on top of warp.h. `where` is filled in by the compiler at the call.
#include "warp.h"

#define HESSCOPE_EMULATION_HERE std::source_location where = std::source_location::current()

inline void __syncwarp(unsigned mask = ~0u, HESSCOPE_EMULATION_HERE) {
  using namespace hesscope::emulation;
  meet_in_warp(mask, WarpOperation::synchronize, 0, where);
}

template <typename T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, HESSCOPE_EMULATION_HERE) {
  const int segment = hesscope::emulation::own_lane() & ~(width - 1);
  return hesscope::emulation::shuffle(mask, value, segment + (source & (width - 1)), where);
}

template <typename T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32,
                        HESSCOPE_EMULATION_HERE) {
  const int lane = hesscope::emulation::own_lane(), source = lane - static_cast<int>(distance);
  const bool inside = source >= (lane & ~(width - 1));
  return hesscope::emulation::shuffle(mask, value, inside ? source : lane, where);
}

template <typename T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32,
                          HESSCOPE_EMULATION_HERE) {
  const int lane = hesscope::emulation::own_lane(), source = lane + static_cast<int>(distance);
  const bool inside = source < (lane & ~(width - 1)) + width;
  return hesscope::emulation::shuffle(mask, value, inside ? source : lane, where);
}

template <typename T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                         HESSCOPE_EMULATION_HERE) {
  const int lane = hesscope::emulation::own_lane(), source = lane ^ bits;
  const bool inside = source < (lane & ~(width - 1)) + width;
  return hesscope::emulation::shuffle(mask, value, inside ? source : lane, where);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, HESSCOPE_EMULATION_HERE) {
  using namespace hesscope::emulation;
  const Exchange votes = meet_in_warp(mask, WarpOperation::vote, predicate != 0 ? 1 : 0, where);
  unsigned ballot = 0;
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    if ((votes.mask >> lane & 1) != 0 && votes.value[lane] != 0) ballot |= 1u << lane;
  }
  return ballot;
}

inline int __any_sync(unsigned mask, int predicate, HESSCOPE_EMULATION_HERE) {
  return __ballot_sync(mask, predicate, where) != 0;
}

inline int __all_sync(unsigned mask, int predicate, HESSCOPE_EMULATION_HERE) {
  return __ballot_sync(mask, predicate == 0 ? 1 : 0, where) == 0;
}

template <typename T>
inline T __reduce_add_sync(unsigned mask, T value, HESSCOPE_EMULATION_HERE) {
  return hesscope::emulation::reduce(mask, value, [](T a, T b) { return a + b; }, where);
}

template <typename T>
inline T __reduce_min_sync(unsigned mask, T value, HESSCOPE_EMULATION_HERE) {
  return hesscope::emulation::reduce(mask, value, [](T a, T b) { return a < b ? a : b; }, where);
}

template <typename T>
inline T __reduce_max_sync(unsigned mask, T value, HESSCOPE_EMULATION_HERE) {
  return hesscope::emulation::reduce(mask, value, [](T a, T b) { return a < b ? b : a; }, where);
}

#undef HESSCOPE_EMULATION_HERE
