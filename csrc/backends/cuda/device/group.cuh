#pragma once

#include "backends/cuda/device/elements.cuh"
#include "backends/cuda/device/reduce.cuh"

namespace hesscope::cuda {

/// Sum over the kThreads threads that share a group, in every one of them: a warp, or the whole
/// block. The order depends on kThreads only.
template <int kThreads>
__device__ inline double group_sum(double value) {
  if constexpr (kThreads == kWarpSize) {
    return warp_sum(value);
  } else {
    HESSCOPE_SHARED(double, total, 1);
    const double sum = block_sum<kThreads>(value);
    if (threadIdx.x == 0) total[0] = sum;
    __syncthreads();
    const double result = total[0];
    __syncthreads();  // the next call writes total again
    return result;
  }
}

/// Calls f(at, end) for the parts of a group [O, I] that this thread owns: elements at, at + 1, ...
/// of a tensor [O, G, I], kWidth of them but none from `end` on. Parts are dealt out to kThreads
/// threads in turn; no division in the loop.
template <int kThreads, int kWidth, typename F>
__device__ inline void for_each_part(index_t outer, index_t groups, index_t inner, index_t group,
                                     const F& f) {
  const index_t parts = (inner + kWidth - 1) / kWidth;  // of a row
  const index_t rows_ahead = kThreads / parts, parts_ahead = kThreads % parts;
  const index_t first = threadIdx.x % kThreads;
  index_t row = first / parts, part = first % parts;
  while (row < outer) {
    const index_t begin = (row * groups + group) * inner;
    f(begin + part * kWidth, begin + inner);
    row += rows_ahead;
    part += parts_ahead;
    if (part >= parts) {
      part -= parts;
      ++row;
    }
  }
}

}  // namespace hesscope::cuda
