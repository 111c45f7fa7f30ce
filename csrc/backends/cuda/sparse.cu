#include "backends/cuda/device/elements.cuh"
#include "backends/cuda/device/reduce.cuh"
#include "backends/cuda/launch.h"
#include "kernels/sparse_kernels.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 256;

/// Lanes that share a row, a power of two: so many that each has about 4 entries of an average row.
/// A function of the matrix's sizes alone, since the order of the sum depends on it.
unsigned lanes_per_row(index_t rows, index_t nnz) {
  unsigned lanes = 1;
  while (lanes < kWarpSize && 4 * lanes <= nnz / rows) lanes *= 2;
  return lanes;
}

// to[c, r] = x[first + r, c]; lanes past the last row repeat row `first`.
// Memory bound: reads K * cols, writes W * cols elements, coalesced on both sides.
template <typename T, int W>
__global__ void __launch_bounds__(kThreads)
    csr_interleave_kernel(MatrixView<const T> x,  // [K, cols]
                          index_t first,
                          T* to  // [cols, W], 16-byte aligned
    ) {
  const index_t c = index_t{blockIdx.x} * kThreads + threadIdx.x;
  if (c >= x.cols) return;
  T lanes[W];
#pragma unroll
  for (int r = 0; r < W; ++r)
    lanes[r] = x.data[(first + r < x.rows ? first + r : first) * x.ld + c];
  store_elements<W * sizeof(T) % 16 == 0>(to + c * W, 0, W, lanes);
}

// y[first + r, i] = sum_p values[p] * x[columns[p], r] over the entries p of row i, r < W.
// `lanes` threads share a row: thread j adds entries j, j + lanes, ..., and a butterfly adds the
// threads. Reads the matrix once, coalesced, and gathers W contiguous elements of x an entry: nnz *
// (sizeof(T) + sizeof(I) + W * sizeof(T)) + rows * (8 + W * sizeof(T)) bytes.
template <typename T, typename I, int W>
__global__ void __launch_bounds__(kThreads)
    csr_matvec_kernel(const std::int64_t* __restrict__ row_start,  // [rows + 1]
                      const I* __restrict__ columns,               // [nnz]
                      const T* __restrict__ values,                // [nnz]
                      const T* __restrict__ x,                     // [cols, W]
                      index_t first, unsigned lanes,
                      MatrixView<T> y  // [K, rows]
    ) {
  const unsigned lane = threadIdx.x % lanes;
  const index_t i = index_t{blockIdx.x} * (kThreads / lanes) + threadIdx.x / lanes;
  const bool inside = i < y.cols;  // every thread takes part in the shuffles
  const index_t begin = inside ? row_start[i] : 0, end = inside ? row_start[i + 1] : 0;

  T sum[W] = {};
  for (index_t p = begin + lane; p < end; p += lanes) {
    T gathered[W];
    load_elements<W * sizeof(T) % 16 == 0>(x + static_cast<index_t>(columns[p]) * W, 0, W,
                                           gathered);
    const T value = values[p];
#pragma unroll
    for (int r = 0; r < W; ++r) sum[r] += value * gathered[r];
  }
  for (unsigned distance = lanes / 2; distance > 0; distance /= 2) {
#pragma unroll
    for (int r = 0; r < W; ++r) sum[r] += __shfl_xor_sync(kFullWarp, sum[r], distance);
  }
#pragma unroll
  for (int r = 0; r < W; ++r) {
    if (inside && lane == r % lanes && first + r < y.rows) y.data[(first + r) * y.ld + i] = sum[r];
  }
}

template <typename T, typename I, int W>
void multiply_chunk(const Context& ctx, VectorView<const std::int64_t> row_start,
                    VectorView<const I> columns, VectorView<const T> values, MatrixView<const T> x,
                    MatrixView<T> y, index_t first) {
  const T* gathered = x.data + first * x.ld;
  if constexpr (W > 1) {
    T* interleaved = reinterpret_cast<T*>(ctx.workspace.data());
    if (x.cols > 0) {
      launch(csr_interleave_kernel<T, W>, make_grid(ceil_div(x.cols, kThreads)), kThreads, 0,
             stream_of(ctx), x, first, interleaved);
    }
    gathered = interleaved;
  }
  const unsigned lanes = lanes_per_row(y.cols, values.size);
  launch(csr_matvec_kernel<T, I, W>, make_grid(ceil_div(y.cols, kThreads / lanes)), kThreads, 0,
         stream_of(ctx), row_start.data, columns.data, values.data, gathered, first, lanes, y);
}

}  // namespace

template <typename T, typename I>
void csr_matvec(const Context& ctx, VectorView<const std::int64_t> row_start,
                VectorView<const I> columns, VectorView<const T> values, MatrixView<const T> x,
                MatrixView<T> y) {
  const ScopedDevice device(ctx.device);
  for (index_t first = 0; first < x.rows; first += kCsrChunk) {
    const index_t left = x.rows - first;
    const index_t width = csr_lanes(left < kCsrChunk ? left : kCsrChunk);
    const auto run = width == 1   ? multiply_chunk<T, I, 1>
                     : width == 2 ? multiply_chunk<T, I, 2>
                     : width == 4 ? multiply_chunk<T, I, 4>
                                  : multiply_chunk<T, I, kCsrChunk>;
    run(ctx, row_start, columns, values, x, y, first);
  }
}

HESSCOPE_FOR_EACH_CSR_TYPE(HESSCOPE_INSTANTIATE_SPARSE)

}  // namespace hesscope::cuda
