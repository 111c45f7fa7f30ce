#pragma once

/// Kernels that use what the emulator offers, rightly. They compile with nvcc too.
#include <cuda_bf16.h>

#include "backends/cuda/device/reduce.cuh"
#include "backends/cuda/device/vector_load.cuh"
#include "hesscope/types.h"

namespace hesscope::cuda {

inline constexpr int kReduceThreads = 256;

/// partial[block] = sum of x over the block's share; head and tail of the row apart, 16 bytes
/// between.
__global__ void sum_kernel(const float* __restrict__ x,  // [n], aligned to its element only
                           index_t n,
                           double* __restrict__ partial  // [gridDim.x]
) {
  constexpr int kWidth = kVectorWidth<float>;
  const index_t first = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const index_t step = static_cast<index_t>(gridDim.x) * blockDim.x;
  const index_t head = elements_before_alignment(x, n);
  const index_t vectors = (n - head) / kWidth;
  double sum = 0;
  for (index_t i = first; i < head; i += step) sum += static_cast<double>(x[i]);
  for (index_t i = first; i < vectors; i += step) {
    const Vector<float> v = load_vector(x + head + i * kWidth);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum += static_cast<double>(v.element[j]);
  }
  for (index_t i = head + vectors * kWidth + first; i < n; i += step) {
    sum += static_cast<double>(x[i]);
  }
  const double total = block_sum<kReduceThreads>(sum);
  const double again = block_sum<kReduceThreads>(sum);  // shared memory is used twice
  if (threadIdx.x == 0) partial[blockIdx.x] = (total + again) / 2;
}

inline constexpr int kTile = 16;

/// y = transpose of x, through a two-dimensional tile of shared memory; ragged edges.
__global__ void transpose_kernel(const double* x,  // [rows, cols]
                                 int rows, int cols,
                                 double* y  // [cols, rows]
) {
  using Row = double[kTile + 1];
  HESSCOPE_SHARED(Row, tile, kTile);
  const int x0 = static_cast<int>(blockIdx.x) * kTile, y0 = static_cast<int>(blockIdx.y) * kTile;
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  if (y0 + ty < rows && x0 + tx < cols) tile[ty][tx] = x[(y0 + ty) * cols + x0 + tx];
  __syncthreads();
  if (x0 + ty < cols && y0 + tx < rows) y[(x0 + ty) * rows + y0 + tx] = tile[tx][ty];
}

/// y = inclusive prefix sums of x within each block, in dynamic shared memory [2, blockDim.x].
__global__ void scan_kernel(const int* x,  // [gridDim.x * blockDim.x]
                            int* y         // the same
) {
  HESSCOPE_DYNAMIC_SHARED(int, buffer);
  const unsigned t = threadIdx.x, width = blockDim.x, i = blockIdx.x * width + t;
  unsigned now = 0;
  buffer[t] = x[i];
  __syncthreads();
  for (unsigned distance = 1; distance < width; distance *= 2, now ^= 1) {
    const int* from = buffer + now * width;
    buffer[(now ^ 1) * width + t] = from[t] + (t >= distance ? from[t - distance] : 0);
    __syncthreads();
  }
  y[i] = buffer[now * width + t];
}

inline constexpr int kBins = 37;

/// count[b] = how many x are b: shared atomics, then global ones.
__global__ void histogram_kernel(const int* x,  // [n], in [0, kBins)
                                 index_t n,
                                 unsigned* count  // [kBins], zero
) {
  HESSCOPE_SHARED(unsigned, bin, kBins);
  for (unsigned b = threadIdx.x; b < kBins; b += blockDim.x) bin[b] = 0;
  __syncthreads();
  const index_t step = static_cast<index_t>(gridDim.x) * blockDim.x;
  for (index_t i = static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
    atomicAdd(&bin[x[i]], 1u);
  }
  __syncthreads();
  for (unsigned b = threadIdx.x; b < kBins; b += blockDim.x) atomicAdd(&count[b], bin[b]);
}

/// The positive entries of x, in any order; ballots, and lanes that return right after one.
__global__ void compact_kernel(const int* x,  // [n]
                               int n,
                               int* y,          // [n]
                               unsigned* count  // [1], zero
) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const bool keep = i < n && x[i] > 0;
  const unsigned lane = threadIdx.x % kWarpSize;
  const unsigned kept = __ballot_sync(kFullWarp, keep);
  unsigned base = 0;
  if (lane == 0 && kept != 0) base = atomicAdd(count, static_cast<unsigned>(__popc(kept)));
  base = __shfl_sync(kFullWarp, base, 0);
  if (!keep) return;
  y[base + static_cast<unsigned>(__popc(kept & ((1u << lane) - 1)))] = x[i];
}

/// out = sum of x in one launch: the block that draws the last ticket adds what all blocks wrote.
__global__ void last_block_sum_kernel(const int* x,  // [n]
                                      int n,
                                      int* partial,      // [gridDim.x]
                                      unsigned* ticket,  // [1], zero; zero again afterwards
                                      int* out           // [1]
) {
  HESSCOPE_SHARED(bool, last, 1);
  int sum = 0;
  for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < n;
       i += static_cast<int>(gridDim.x * blockDim.x)) {
    sum += x[i];
  }
  sum = block_sum<kReduceThreads>(sum);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    __threadfence();
    last[0] = atomicInc(ticket, gridDim.x - 1) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!last[0] || threadIdx.x != 0) return;
  int total = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) total += partial[b];
  *out = total;
}

inline constexpr int kWarpResults = 12;

/// What each warp intrinsic gives thread t. One block; a last warp may be ragged.
__global__ void warp_kernel(int* y  // [blockDim.x, kWarpResults]
) {
  const int t = static_cast<int>(threadIdx.x), lane = t % kWarpSize;
  int* mine = y + t * kWarpResults;
  mine[0] = __shfl_sync(kFullWarp, t, 3);
  mine[1] = __shfl_sync(kFullWarp, t, 5, 8);
  mine[2] = __shfl_up_sync(kFullWarp, t, 1);
  mine[3] = __shfl_down_sync(kFullWarp, t, 2, 4);
  mine[4] = __shfl_xor_sync(kFullWarp, t, 1);
  mine[5] = __any_sync(kFullWarp, lane == 2);
  mine[6] = __all_sync(kFullWarp, lane < 31);
  mine[7] = __reduce_add_sync(kFullWarp, lane);
  mine[8] = __syncthreads_count(t % 3 == 0);
  mine[9] = __syncthreads_and(t >= 0) + 2 * __syncthreads_and(t != 1);
  mine[10] = __syncthreads_or(t == 1) + 2 * __syncthreads_or(t < 0);
  const unsigned half = lane < 4 ? 0xfu : 0xf0u;  // two groups of four meet apart from each other
  mine[11] = lane < 8 ? __shfl_sync(half, t, 0, 4) : -1;
}

/// y = x + 1 in bfloat16 of NVIDIA's headers, whose bits are those of hesscope::bfloat16.
__global__ void bfloat16_kernel(const bfloat16* x,  // [8 * gridDim.x * blockDim.x], 16-byte aligned
                                bfloat16* y         // the same
) {
  const index_t first = (static_cast<index_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 8;
  Vector<bfloat16> v = load_vector(x + first);
  for (bfloat16& e : v.element) {
    const float value = __bfloat162float(__ushort_as_bfloat16(e.bits));
    e.bits = __bfloat16_as_ushort(__float2bfloat16(value + 1.0f));
  }
  store_vector(y + first, v);
}

/// y[i] = number of the thread: no barrier, so the emulator runs it as a plain loop.
__global__ void __launch_bounds__(1024) number_kernel(index_t* y  // [grid * block]
) {
  const index_t block =
      blockIdx.x + static_cast<index_t>(gridDim.x) * (blockIdx.y + gridDim.y * blockIdx.z);
  const index_t thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const index_t i = block * (blockDim.x * blockDim.y * blockDim.z) + thread;
  y[i] = i;
}

}  // namespace hesscope::cuda
