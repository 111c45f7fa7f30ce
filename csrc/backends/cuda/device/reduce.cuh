#pragma once

#include "backends/cuda/device/portable.cuh"

namespace hesscope::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kFullWarp = 0xffffffffu;

/// Sum of `value` over the warp, in every lane. Call from all 32 lanes.
///
/// The order is a fixed butterfly: first lanes 16 apart, then 8, 4, 2, 1. Addition commutes, so the
/// lanes agree to the last bit.
template <typename T>
__device__ inline T warp_sum(T value) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kFullWarp, value, distance);
  }
  return value;
}

/// Sum of `value` over a one-dimensional block of kThreads threads, valid in thread 0 only. Call
/// from every thread. Warps are summed first, then their totals; the order depends on kThreads
/// only.
template <int kThreads, typename T>
__device__ inline T block_sum(T value) {
  static_assert(kThreads % kWarpSize == 0 && kThreads <= kWarpSize * kWarpSize);
  constexpr int kWarps = kThreads / kWarpSize;
  HESSCOPE_SHARED(T, warp_total, kWarps);

  value = warp_sum(value);
  if (threadIdx.x % kWarpSize == 0) warp_total[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  if (threadIdx.x < kWarpSize) {
    value = warp_sum(threadIdx.x < kWarps ? warp_total[threadIdx.x] : T(0));
  }
  __syncthreads();  // the next call writes warp_total again
  return value;
}

}  // namespace hesscope::cuda
