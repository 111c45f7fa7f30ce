#include "backends/cuda/device/elements.cuh"
#include "backends/cuda/device/reduce.cuh"
#include "backends/cuda/launch.h"
#include "hesscope/lanczos.h"
#include "kernels/slab.h"
#include "kernels/sparse_kernels.h"
#include "kernels/workspace.h"
#include "math/accumulate.h"
#include "math/lanczos.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 256;

/// Rows of a slab that are worked on at once, by kRowsAtOnce * W threads: so that a lane's sum has
/// the same order for any W.
constexpr int kRowsAtOnce = 32;

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
// Four blocks a processor: with no bound ptxas aims at five on sm_100 and spills.
template <typename T, typename I, int W>
__global__ void __launch_bounds__(kThreads, 4)
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

/// Sums over the threads of a block that share a lane, threadIdx.x % W; written by the first W
/// threads. A tree over kRowsAtOnce numbers a lane.
template <int W>
__device__ inline void store_lane_sums(double sum, double* to  // [W]
) {
  HESSCOPE_SHARED(double, total, kRowsAtOnce* W);
  total[threadIdx.x] = sum;
  for (unsigned distance = kRowsAtOnce * W / 2; distance >= W; distance /= 2) {
    __syncthreads();
    if (threadIdx.x < distance) total[threadIdx.x] += total[threadIdx.x + distance];
  }
  if (threadIdx.x < W) to[threadIdx.x] = total[threadIdx.x];
}

__device__ inline LanczosRow lane_row(const MatrixView<const double>& state, index_t lane) {
  return lanczos_row(lane < state.rows ? lanczos_read(state.data + lane * state.ld)
                                       : LanczosRecord{0, 0, 0, 0});
}

// v_prev[i, r] = scale * (A v)[i, r] - coupling * v_prev[i, r], rounded; partial[s, r] = the sum of
// its products with v over slab s. One block a slab; W threads share a row of the matrix. Reads the
// matrix once, gathers W contiguous elements an entry, and moves 3 W elements a row. Four blocks a
// processor, as above.
template <typename T, typename I, int W>
__global__ void __launch_bounds__(kRowsAtOnce* W, 4)
    csr_lanczos_update_residual_kernel(CsrMatrix<T, I> a, const T* __restrict__ v,  // [n, W]
                                       T* __restrict__ v_prev,                      // [n, W]
                                       MatrixView<const double> state,
                                       double* __restrict__ partial  // [slabs, W]
    ) {
  const index_t lane = threadIdx.x % W, s = blockIdx.x;
  const LanczosRow row = lane_row(state, lane);
  const index_t end = min((s + 1) * kSlab, a.n);
  double sum = 0;
  for (index_t i = s * kSlab + threadIdx.x / W; i < end; i += kRowsAtOnce) {
    T r = 0;
    if (!row.frozen) {
      T product = 0;
      for (index_t p = a.row_start[i]; p < a.row_start[i + 1]; ++p) {
        product += a.values[p] * v[static_cast<index_t>(a.columns[p]) * W + lane];
      }
      const T before = row.first ? T(0) : v_prev[i * W + lane];
      r = static_cast<T>(lanczos_residual(row, product, before));
      sum = mul_add(v[i * W + lane], r, sum);
    }
    v_prev[i * W + lane] = r;
  }
  store_lane_sums<W>(sum, partial + s * W);
}

// next[i, r] = r[i, r] - alpha[r] * scale * v[i, r] in place; partial[s, r] = the sum of its
// squares.
template <typename T, int W>
__global__ void __launch_bounds__(kRowsAtOnce* W, 4)
    csr_lanczos_update_next_kernel(index_t n, const T* __restrict__ v,  // [n, W]
                                   T* __restrict__ next,                // [n, W]
                                   MatrixView<const double> state,
                                   VectorView<double> alpha,     // [K]
                                   double* __restrict__ partial  // [slabs, W]
    ) {
  const index_t lane = threadIdx.x % W, s = blockIdx.x;
  const LanczosRow row = lane_row(state, lane);
  const double shift = row.frozen ? 0.0 : alpha.data[lane * alpha.stride] * row.scale;
  const index_t end = min((s + 1) * kSlab, n);
  double sum = 0;
  for (index_t i = s * kSlab + threadIdx.x / W; !row.frozen && i < end; i += kRowsAtOnce) {
    const T value = static_cast<T>(widen(next[i * W + lane]) - shift * widen(v[i * W + lane]));
    next[i * W + lane] = value;
    sum = mul_add(value, value, sum);
  }
  store_lane_sums<W>(sum, partial + s * W);
}

/// The sum of a lane's slabs, valid in thread 0. Call from every thread.
__device__ inline double add_slabs(const double* partial,  // [slabs, W], from this lane on
                                   index_t slabs, int width) {
  double sum = 0;
  for (index_t s = threadIdx.x; s < slabs; s += kThreads) sum += partial[s * width];
  return block_sum<kThreads>(sum);
}

// alpha[r] = scale * sum_s partial[s, r]. One block a recurrence.
__global__ void __launch_bounds__(kThreads)
    csr_lanczos_update_alpha_kernel(const double* __restrict__ partial, index_t slabs, int width,
                                    MatrixView<const double> state, VectorView<double> alpha) {
  const index_t r = blockIdx.x;
  const double scale = state.data[r * state.ld + kLanczosScale];
  const double sum = add_slabs(partial + r, slabs, width);
  if (threadIdx.x == 0) alpha.data[r * alpha.stride] = scale == 0 ? 0.0 : scale * sum;
}

// beta[r]^2 = sum_s partial[s, r], and the state moves on. One block a recurrence, which also
// clears next if it breaks down: that happens once in its life.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    csr_lanczos_update_beta_kernel(const double* __restrict__ partial, index_t slabs,
                                   MatrixView<double> state, VectorView<double> alpha,
                                   VectorView<double> beta,
                                   MatrixView<T> next,  // [n, W]
                                   double breakdown_tolerance) {
  HESSCOPE_SHARED(bool, ends, 1);
  const index_t r = blockIdx.x;
  double* to = state.data + r * state.ld;
  LanczosRecord record = lanczos_read(to);
  const bool frozen = record.scale == 0;
  __syncthreads();  // every thread has read the state
  const double sum = add_slabs(partial + r, slabs, static_cast<int>(next.cols));
  if (threadIdx.x == 0) {
    const double a = alpha.data[r * alpha.stride];
    const double b = frozen ? 0.0 : lanczos_advance(record, a, sum, breakdown_tolerance);
    beta.data[r * beta.stride] = b;
    lanczos_write(record, to);
    ends[0] = !frozen && b == 0;
  }
  __syncthreads();
  if (!ends[0]) return;
  for (index_t i = threadIdx.x; i < next.rows; i += kThreads) next.data[i * next.cols + r] = T(0);
}

template <typename T, typename I, int W>
void lanczos_step(const Context& ctx, const CsrMatrix<T, I>& a, MatrixView<const T> v,
                  MatrixView<T> v_prev, MatrixView<double> state, VectorView<double> alpha,
                  VectorView<double> beta, double breakdown_tolerance) {
  const cudaStream_t stream = stream_of(ctx);
  const index_t slabs = num_slabs(a.n);
  auto workspace = ctx.workspace;
  double* partial = carve<double>(workspace, slabs * W);
  const MatrixView<const double> before{state.data, state.rows, state.cols, state.ld};
  const dim3 blocks = make_grid(slabs), recurrences = make_grid(state.rows);
  launch(csr_lanczos_update_residual_kernel<T, I, W>, blocks, kRowsAtOnce * W, 0, stream, a, v.data,
         v_prev.data, before, partial);
  launch(csr_lanczos_update_alpha_kernel, recurrences, kThreads, 0, stream, partial, slabs, W,
         before, alpha);
  launch(csr_lanczos_update_next_kernel<T, W>, blocks, kRowsAtOnce * W, 0, stream, a.n, v.data,
         v_prev.data, before, alpha, partial);
  launch(csr_lanczos_update_beta_kernel<T>, recurrences, kThreads, 0, stream, partial, slabs, state,
         alpha, beta, v_prev, breakdown_tolerance);
}

}  // namespace

template <typename T, typename I>
void csr_lanczos_update(const Context& ctx, const CsrMatrix<T, I>& a, MatrixView<const T> v,
                        MatrixView<T> v_prev, MatrixView<double> state, VectorView<double> alpha,
                        VectorView<double> beta, double breakdown_tolerance) {
  const ScopedDevice device(ctx.device);
  const auto step = v.cols == 1   ? lanczos_step<T, I, 1>
                    : v.cols == 2 ? lanczos_step<T, I, 2>
                    : v.cols == 4 ? lanczos_step<T, I, 4>
                                  : lanczos_step<T, I, kCsrChunk>;
  step(ctx, a, v, v_prev, state, alpha, beta, breakdown_tolerance);
}

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
