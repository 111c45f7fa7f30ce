#include "backends/cuda/aligned.h"
#include "backends/cuda/device/elements.cuh"
#include "backends/cuda/device/reduce.cuh"
#include "backends/cuda/launch.h"
#include "kernels/factor_sum_kernels.h"
#include "math/factor_sum.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarpSize;

// Elements of a row that a warp works on: two accesses of 16 bytes of each operand a thread.
template <typename T>
constexpr index_t kChunk = 2 * kWarpSize * kVectorWidth<T>;

template <typename T>
__device__ inline T* row_of(const Grid4<T>& grid, index_t k, index_t a, index_t b) {
  return grid.data + k * grid.stride[0] + a * grid.stride[1] + b * grid.stride[2];
}

template <bool kAligned, int kWidth, typename T>
__device__ inline void load_part(const Grid4<const T>& grid, index_t k, index_t a, index_t b,
                                 index_t i, index_t end, T (&to)[kWidth]) {
  const T* row = row_of(grid, k, a, b);
  if (grid.stride[3] != 0) {
    load_elements<kAligned>(row, i, end, to);
  } else {
#pragma unroll
    for (int e = 0; e < kWidth; ++e) to[e] = row[0];
  }
}

// out = scale * sum_j factor_j * tangent_j (+ out) over [K, A, B, C], operands broadcast by strides
// of 0. A warp works on kChunk elements of one row; the K probes of a chunk are neighbours in the
// grid, so that factors come from memory once and from the L2 cache K - 1 times. Memory bound:
// reads every tangent once, writes out once, in 16-byte accesses.
template <int kCount, bool kAligned, typename T>
__global__ void __launch_bounds__(kThreads)
    factor_sum_kernel(FactorSum<T> s, index_t chunks  // of a row
    ) {
  constexpr int kWidth = kVectorWidth<T>;
  const index_t task = index_t{blockIdx.x} * kWarps + threadIdx.x / kWarpSize;
  const index_t k = task % s.shape[0], unit = task / s.shape[0];
  const index_t row = unit / chunks, a = row / s.shape[2], b = row % s.shape[2];
  if (a >= s.shape[1]) return;
  const index_t begin = unit % chunks * kChunk<T>, end = s.shape[3];
  T* out = row_of(s.out, k, a, b);
#pragma unroll
  for (int part = 0; part < 2; ++part) {
    const index_t i = begin + (part * kWarpSize + threadIdx.x % kWarpSize) * kWidth;
    if (i >= end) return;
    T factor[kCount][kWidth], tangent[kCount][kWidth], value[kWidth] = {};
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      load_part<kAligned>(s.factor[j], 0, a, b, i, end, factor[j]);
      load_part<kAligned>(s.tangent[j], k, a, b, i, end, tangent[j]);
    }
    if (s.add) load_elements<kAligned>(out, i, end, value);
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      T f[kCount], t[kCount];
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        f[j] = factor[j][e];
        t[j] = tangent[j][e];
      }
      factor_sum_element<kCount>(f, t, s.scale, s.add, value[e]);
    }
    store_elements<kAligned>(out, i, end, value);
  }
}

/// Whether every row that is read in 16-byte accesses starts at a multiple of 16 bytes.
template <typename T>
bool is_aligned(const Grid4<T>& grid) {
  if (grid.stride[3] == 0) return true;
  bool aligned = reinterpret_cast<std::uintptr_t>(grid.data) % 16 == 0;
  for (int d = 0; d < 3; ++d) {
    aligned = aligned && grid.stride[d] * static_cast<index_t>(sizeof(T)) % 16 == 0;
  }
  return aligned;
}

template <int kCount, typename T>
void sum(const Context& ctx, const FactorSum<T>& s) {
  const ScopedDevice device(ctx.device);
  bool aligned = is_aligned(s.out);
  for (int j = 0; j < kCount; ++j) {
    aligned = aligned && is_aligned(s.factor[j]) && is_aligned(s.tangent[j]);
  }
  const index_t chunks = ceil_div(s.shape[3], kChunk<T>);
  const index_t blocks = ceil_div(s.shape[0] * s.rows() * chunks, kWarps);
  launch(aligned ? factor_sum_kernel<kCount, true, T> : factor_sum_kernel<kCount, false, T>,
         make_grid(blocks), kThreads, 0, stream_of(ctx), s, chunks);
}

}  // namespace

template <typename T>
void factor_sum(const Context& ctx, const FactorSum<T>& s) {
  switch (s.count) {
    case 1:
      return sum<1>(ctx, s);
    case 2:
      return sum<2>(ctx, s);
    default:
      return sum<3>(ctx, s);
  }
}

HESSCOPE_INSTANTIATE_FACTOR_SUM(float)
HESSCOPE_INSTANTIATE_FACTOR_SUM(double)

}  // namespace hesscope::cuda
