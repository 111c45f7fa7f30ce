#include "backends/cuda/aligned.h"
#include "backends/cuda/device/elements.cuh"
#include "backends/cuda/device/reduce.cuh"
#include "backends/cuda/launch.h"
#include "kernels/orthogonalize_kernels.h"
#include "kernels/workspace.h"
#include "math/accumulate.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kFinishThreads = 128;

/// What one block covers of the pairs (b, j): kRows basis rows for each of kBatch vectors. With a
/// basis of its own for every vector, w is read once per kRows rows; with a shared one, q is read
/// once per kBatch vectors. Wider threads hold fewer rows, so that two blocks fit on a processor.
template <bool kShared, typename Q, typename W>
struct Tile {
  // Elements a thread takes at a time: whole 16-byte accesses of either type.
  static constexpr int kWidth =
      kVectorWidth<Q> > kVectorWidth<W> ? kVectorWidth<Q> : kVectorWidth<W>;
  static constexpr int kBatch = !kShared ? 1 : kWidth > 4 ? 2 : 4;
  static constexpr int kRows = kShared || kWidth > 4 ? 4 : 8;
};

/// Thread c < kCount gets the block's sum of value[c]. Call once, from every thread.
template <int kCount>
__device__ double block_sums(const double (&value)[kCount]) {
  constexpr int kWarps = kThreads / kWarpSize, kTotals = kWarps * kCount;
  HESSCOPE_SHARED(double, warp_total, kTotals);
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
#pragma unroll
  for (int c = 0; c < kCount; ++c) {
    const double total = warp_sum(value[c]);
    if (threadIdx.x % kWarpSize == 0) warp_total[warp * kCount + c] = total;
  }
  __syncthreads();
  double sum = 0;
  if (threadIdx.x < kCount) {
    for (int i = 0; i < kWarps; ++i) sum += warp_total[i * kCount + threadIdx.x];
  }
  return sum;
}

// partial[b, j, s] = sum over slab s of q[b, j, i] * w[b, i].
// One block per slab and tile, tiles of a slab side by side, so that what they share comes from L2.
// Memory bound: reads q once; kRows or kBatch independent 16-byte loads are in flight per thread.
template <bool kShared, bool kAligned, typename Q, typename W>
__global__ void __launch_bounds__(kThreads, 2)
    multi_dot_partial_kernel(BatchView<const Q> q,   // [B, k, n]
                             MatrixView<const W> w,  // [B, n]
                             unsigned row_tiles, unsigned tiles,
                             double* __restrict__ partial,  // [B, k, slabs]
                             index_t slabs) {
  using Shape = Tile<kShared, Q, W>;
  constexpr int kBatch = Shape::kBatch, kRows = Shape::kRows, kWidth = Shape::kWidth;
  const unsigned tile = blockIdx.x % tiles, s = blockIdx.x / tiles;
  const index_t row0 = index_t{tile % row_tiles} * kRows, b0 = index_t{tile / row_tiles} * kBatch;
  const index_t end = min((index_t{s} + 1) * kSlab, q.cols);

  // Rows beyond the last are the last one again: their sums are not written.
  const Q* rows[kRows];
  const W* vectors[kBatch];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    rows[r] = q.data + b0 * q.batch_stride + min(row0 + r, q.rows - 1) * q.ld;
  }
#pragma unroll
  for (int b = 0; b < kBatch; ++b) vectors[b] = w.data + min(b0 + b, q.batch - 1) * w.ld;

  double sum[kBatch * kRows] = {};
  for (index_t i = s * kSlab + threadIdx.x * kWidth; i < end; i += kThreads * kWidth) {
    W x[kBatch][kWidth];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) load_elements<kAligned>(vectors[b], i, end, x[b]);
    Q y[kRows][kWidth];
#pragma unroll
    for (int r = 0; r < kRows; ++r) load_elements<kAligned>(rows[r], i, end, y[r]);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        double& total = sum[b * kRows + r];
#pragma unroll
        for (int e = 0; e < kWidth; ++e) total = mul_add(y[r][e], x[b][e], total);
      }
    }
  }

  const double total = block_sums(sum);
  const index_t b = b0 + threadIdx.x / kRows, j = row0 + threadIdx.x % kRows;
  if (threadIdx.x < kBatch * kRows && b < q.batch && j < q.rows) {
    partial[(b * q.rows + j) * slabs + s] = total;
  }
}

// c[b, j] = sum_s partial[b, j, s]. One block per (b, j).
__global__ void __launch_bounds__(kFinishThreads)
    multi_dot_finish_kernel(const double* __restrict__ partial,  // [B, k, slabs]
                            index_t slabs,
                            MatrixView<double> c  // [B, k]
    ) {
  const double* slab = partial + index_t{blockIdx.x} * slabs;
  double sum = 0;
  for (index_t s = threadIdx.x; s < slabs; s += kFinishThreads) sum += slab[s];
  sum = block_sum<kFinishThreads>(sum);
  if (threadIdx.x == 0) c.data[blockIdx.x / c.cols * c.ld + blockIdx.x % c.cols] = sum;
}

// w[b, i] += scale * sum_j c[b, j] * q[b, j, i].
// A thread owns kWidth elements of kBatch vectors and takes the rows in order. Memory bound: reads
// q once (shared: once per kBatch vectors, the repeats from L2), reads and writes w once.
template <bool kShared, bool kAligned, typename Q, typename W>
__global__ void __launch_bounds__(kThreads) multi_axpy_kernel(BatchView<const Q> q,  // [B, k, n]
                                                              MatrixView<const double> c,  // [B, k]
                                                              MatrixView<W> w,             // [B, n]
                                                              unsigned tiles, double scale) {
  using Shape = Tile<kShared, Q, W>;
  constexpr int kBatch = Shape::kBatch, kWidth = Shape::kWidth;
  const unsigned tile = blockIdx.x % tiles, chunk = blockIdx.x / tiles;
  const index_t b0 = index_t{tile} * kBatch, n = q.cols;
  const index_t i = (index_t{chunk} * kThreads + threadIdx.x) * kWidth;
  if (i >= n) return;

  double sum[kBatch][kWidth] = {};
  const Q* row = q.data + b0 * q.batch_stride;
#pragma unroll 4
  for (index_t j = 0; j < q.rows; ++j, row += q.ld) {
    Q y[kWidth];
    load_elements<kAligned>(row, i, n, y);
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const double coefficient = c.data[min(b0 + b, q.batch - 1) * c.ld + j];
#pragma unroll
      for (int e = 0; e < kWidth; ++e) sum[b][e] = mul_add(y[e], coefficient, sum[b][e]);
    }
  }

#pragma unroll
  for (int b = 0; b < kBatch; ++b) {
    if (b0 + b >= q.batch) break;
    W* target = w.data + (b0 + b) * w.ld;
    W x[kWidth];
    load_elements<kAligned>(target, i, n, x);
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      x[e] = static_cast<W>(mul_add(sum[b][e], scale, widen(x[e])));
    }
    store_elements<kAligned>(target, i, n, x);
  }
}

template <bool kShared, bool kAligned, typename Q, typename W>
void launch_partial(const Context& ctx, BatchView<const Q> q, MatrixView<const W> w,
                    double* partial  // [B, k, slabs]
) {
  using Shape = Tile<kShared, Q, W>;
  const index_t slabs = num_slabs(q.cols), row_tiles = ceil_div(q.rows, Shape::kRows);
  const index_t tiles = row_tiles * ceil_div(q.batch, Shape::kBatch);
  launch(multi_dot_partial_kernel<kShared, kAligned, Q, W>, make_grid(slabs * tiles), kThreads, 0,
         stream_of(ctx), q, w, static_cast<unsigned>(row_tiles), static_cast<unsigned>(tiles),
         partial, slabs);
}

template <bool kShared, bool kAligned, typename Q, typename W>
void launch_axpy(const Context& ctx, BatchView<const Q> q, MatrixView<const double> c,
                 MatrixView<W> w, double scale) {
  using Shape = Tile<kShared, Q, W>;
  const index_t chunks = ceil_div(q.cols, kThreads * Shape::kWidth);
  const index_t tiles = ceil_div(q.batch, Shape::kBatch);
  launch(multi_axpy_kernel<kShared, kAligned, Q, W>, make_grid(chunks * tiles), kThreads, 0,
         stream_of(ctx), q, c, w, static_cast<unsigned>(tiles), scale);
}

template <typename Q>
bool is_shared(const BatchView<Q>& q) {
  return q.batch > 1 && q.batch_stride == 0;
}

}  // namespace

template <typename Q, typename W>
void multi_dot(const Context& ctx, BatchView<const Q> q, MatrixView<const W> w,
               MatrixView<double> c) {
  const ScopedDevice device(ctx.device);
  const bool aligned = rows_are_aligned(q) && rows_are_aligned(w);
  const index_t slabs = num_slabs(q.cols);
  auto workspace = ctx.workspace;
  double* partial = carve<double>(workspace, q.batch * q.rows * slabs);

  const auto run =
      is_shared(q) ? aligned ? launch_partial<true, true, Q, W> : launch_partial<true, false, Q, W>
      : aligned    ? launch_partial<false, true, Q, W>
                   : launch_partial<false, false, Q, W>;
  run(ctx, q, w, partial);
  launch(multi_dot_finish_kernel, make_grid(q.batch * q.rows), kFinishThreads, 0, stream_of(ctx),
         partial, slabs, c);
}

template <typename Q, typename W>
void multi_axpy(const Context& ctx, BatchView<const Q> q, MatrixView<const double> c,
                MatrixView<W> w, double scale) {
  const ScopedDevice device(ctx.device);
  const bool aligned = rows_are_aligned(q) && rows_are_aligned(w);
  const auto run = is_shared(q)
                       ? aligned ? launch_axpy<true, true, Q, W> : launch_axpy<true, false, Q, W>
                   : aligned ? launch_axpy<false, true, Q, W>
                             : launch_axpy<false, false, Q, W>;
  run(ctx, q, c, w, scale);
}

HESSCOPE_FOR_EACH_BASIS_TYPE(HESSCOPE_INSTANTIATE_ORTHOGONALIZE)

}  // namespace hesscope::cuda
