#include "backends/cuda/aligned.h"
#include "backends/cuda/device/elements.cuh"
#include "backends/cuda/launch.h"
#include "kernels/scaling_kernels.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = 4;  // a thread reads its part of d once for so many rows

// y[r, i] = d[i] * x[r, i].
// A thread owns kVectorWidth elements of kRows rows. Memory bound: reads x once and d once per
// kRows rows, writes y once; kRows independent 16-byte loads are in flight per thread.
template <bool kAligned, typename T>
__global__ void __launch_bounds__(kThreads)
    scale_columns_kernel(const T* d,             // [n]
                         MatrixView<const T> x,  // [K, n]
                         MatrixView<T> y,        // [K, n], may be x
                         unsigned row_tiles) {
  constexpr int kWidth = kVectorWidth<T>;
  const unsigned tile = blockIdx.x % row_tiles, chunk = blockIdx.x / row_tiles;
  const index_t r0 = index_t{tile} * kRows, n = x.cols;
  const index_t i = (index_t{chunk} * kThreads + threadIdx.x) * kWidth;
  if (i >= n) return;

  T scale[kWidth], value[kRows][kWidth];
  load_elements<kAligned>(d, i, n, scale);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (r0 + r < x.rows) load_elements<kAligned>(x.data + (r0 + r) * x.ld, i, n, value[r]);
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (r0 + r >= x.rows) break;
#pragma unroll
    for (int e = 0; e < kWidth; ++e) value[r][e] *= scale[e];
    store_elements<kAligned>(y.data + (r0 + r) * y.ld, i, n, value[r]);
  }
}

}  // namespace

template <typename T>
void scale_columns(const Context& ctx, VectorView<const T> d, MatrixView<const T> x,
                   MatrixView<T> y) {
  const ScopedDevice device(ctx.device);
  const index_t chunks = ceil_div(x.cols, kThreads * kVectorWidth<T>);
  const index_t row_tiles = ceil_div(x.rows, kRows);
  const MatrixView<const T> d_row{d.data, 1, d.size, d.size};
  const bool aligned = rows_are_aligned(d_row) && rows_are_aligned(x) && rows_are_aligned(y);
  launch(aligned ? scale_columns_kernel<true, T> : scale_columns_kernel<false, T>,
         make_grid(chunks * row_tiles), kThreads, 0, stream_of(ctx), d.data, x, y,
         static_cast<unsigned>(row_tiles));
}

HESSCOPE_INSTANTIATE_SCALING(float)
HESSCOPE_INSTANTIATE_SCALING(double)

}  // namespace hesscope::cuda
