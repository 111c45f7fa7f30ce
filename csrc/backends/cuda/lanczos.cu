#include "backends/cuda/aligned.h"
#include "backends/cuda/device/elements.cuh"
#include "backends/cuda/device/reduce.cuh"
#include "backends/cuda/launch.h"
#include "hesscope/lanczos.h"
#include "kernels/lanczos_kernels.h"
#include "kernels/workspace.h"
#include "math/accumulate.h"
#include "math/lanczos.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kParts = 2;  // independent 16-byte loads of each operand in flight, per thread

template <typename T>
struct Operands {
  MatrixView<const T> w, v, v_prev;  // [K, n]
  const double* state;               // [K, kLanczosStateSize], row stride state_ld
  index_t state_ld;
};

/// What a thread holds of a row: kParts vectors, a block's width apart.
template <typename T>
struct Chunk {
  static constexpr int kWidth = kVectorWidth<T>;
  static constexpr index_t kStride = kThreads * kWidth;  // from part to part
  T w[kParts][kWidth], v[kParts][kWidth], v_prev[kParts][kWidth];
};

/// v_prev is not read in the first step: its coupling is 0 then.
template <bool kAligned, typename T>
__device__ inline void load_chunk(const Operands<T>& x, index_t k, bool first, index_t i,
                                  index_t end, Chunk<T>& chunk) {
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    const index_t at = i + p * Chunk<T>::kStride;
    load_elements<kAligned>(x.w.data + k * x.w.ld, at, end, chunk.w[p]);
    load_elements<kAligned>(x.v.data + k * x.v.ld, at, end, chunk.v[p]);
    load_elements<kAligned>(x.v_prev.data + k * x.v_prev.ld, at, first ? 0 : end, chunk.v_prev[p]);
  }
}

// partial[k, s] = sum over slab s of v[k, i] * r[k, i]. One block per slab and row.
// Memory bound: reads w, v and v_prev, 12 bytes an element in float32.
template <bool kAligned, typename T>
__global__ void __launch_bounds__(kThreads)
    lanczos_update_alpha_kernel(Operands<T> x, unsigned slabs,
                                double* __restrict__ partial  // [K, slabs]
    ) {
  const index_t k = blockIdx.x / slabs, s = blockIdx.x % slabs;
  const LanczosRow row = lanczos_row(lanczos_read(x.state + k * x.state_ld));
  if (row.frozen) return;
  const index_t end = min((s + 1) * kSlab, x.w.cols);

  double sum = 0;
  index_t i = s * kSlab + threadIdx.x * Chunk<T>::kWidth;
  for (; i < end; i += kParts * Chunk<T>::kStride) {
    Chunk<T> chunk;
    load_chunk<kAligned>(x, k, row.first, i, end, chunk);
#pragma unroll
    for (int p = 0; p < kParts; ++p) {
#pragma unroll
      for (int e = 0; e < Chunk<T>::kWidth; ++e) {
        const double r = lanczos_residual(row, chunk.w[p][e], chunk.v_prev[p][e]);
        sum = mul_add(chunk.v[p][e], r, sum);
      }
    }
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partial[k * slabs + s] = sum;
}

// next[k, i] = r[k, i] - alpha[k] * scale * v[k, i]; partial[k, s] = sum over slab s of its
// squares. One block per slab and row. Memory bound: reads w, v and v_prev and writes next, 16
// bytes an element in float32. next may be v_prev: a thread writes only what it has read.
template <bool kAligned, typename T>
__global__ void __launch_bounds__(kThreads)
    lanczos_update_next_kernel(Operands<T> x, VectorView<double> alpha,  // [K]
                               MatrixView<T> next,                       // [K, n]
                               unsigned slabs,
                               double* __restrict__ partial  // [K, slabs]
    ) {
  const index_t k = blockIdx.x / slabs, s = blockIdx.x % slabs;
  const LanczosRow row = lanczos_row(lanczos_read(x.state + k * x.state_ld));
  const double shift = alpha.data[k * alpha.stride] * row.scale;
  const index_t end = min((s + 1) * kSlab, x.w.cols);
  T* to = next.data + k * next.ld;

  double sum = 0;
  index_t i = s * kSlab + threadIdx.x * Chunk<T>::kWidth;
  for (; i < end; i += kParts * Chunk<T>::kStride) {
    Chunk<T> chunk = {};
    if (!row.frozen) load_chunk<kAligned>(x, k, row.first, i, end, chunk);
#pragma unroll
    for (int p = 0; p < kParts; ++p) {
      T value[Chunk<T>::kWidth];
#pragma unroll
      for (int e = 0; e < Chunk<T>::kWidth; ++e) {
        const double r = lanczos_residual(row, chunk.w[p][e], chunk.v_prev[p][e]);
        value[e] = static_cast<T>(r - shift * widen(chunk.v[p][e]));
        sum = mul_add(value[e], value[e], sum);
      }
      store_elements<kAligned>(to, i + p * Chunk<T>::kStride, end, value);
    }
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partial[k * slabs + s] = sum;
}

/// The sum of a row's slabs, valid in thread 0. Call from every thread.
__device__ inline double add_slabs(const double* partial,  // [slabs]
                                   unsigned slabs) {
  double sum = 0;
  for (unsigned s = threadIdx.x; s < slabs; s += kThreads) sum += partial[s];
  return block_sum<kThreads>(sum);
}

// alpha[k] = scale * sum_s partial[k, s]. One block per row.
__global__ void __launch_bounds__(kThreads)
    lanczos_update_alpha_finish_kernel(const double* __restrict__ partial,  // [K, slabs]
                                       unsigned slabs,
                                       MatrixView<const double> state,  // [K, kLanczosStateSize]
                                       VectorView<double> alpha         // [K]
    ) {
  const index_t k = blockIdx.x;
  const double scale = state.data[k * state.ld + kLanczosScale];
  const double sum = scale == 0 ? 0.0 : add_slabs(partial + k * slabs, slabs);
  if (threadIdx.x == 0) alpha.data[k * alpha.stride] = scale * sum;
}

// beta[k]^2 = sum_s partial[k, s], and the state moves on. One block per row, which also clears
// next if the recurrence breaks down: that happens once in its life.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    lanczos_update_beta_finish_kernel(const double* __restrict__ partial,  // [K, slabs]
                                      unsigned slabs,
                                      MatrixView<double> state,  // [K, kLanczosStateSize]
                                      VectorView<double> alpha,  // [K]
                                      VectorView<double> beta,   // [K]
                                      MatrixView<T> next,        // [K, n]
                                      double breakdown_tolerance) {
  HESSCOPE_SHARED(bool, ends, 1);
  const index_t k = blockIdx.x;
  double* to = state.data + k * state.ld;
  LanczosRecord record = lanczos_read(to);
  const bool frozen = record.scale == 0;
  __syncthreads();  // every thread has read the state
  const double sum = add_slabs(partial + k * slabs, slabs);
  if (threadIdx.x == 0) {
    const double a = alpha.data[k * alpha.stride];
    const double b = frozen ? 0.0 : lanczos_advance(record, a, sum, breakdown_tolerance);
    beta.data[k * beta.stride] = b;
    lanczos_write(record, to);
    ends[0] = !frozen && b == 0;
  }
  __syncthreads();
  if (!ends[0]) return;
  for (index_t i = threadIdx.x; i < next.cols; i += kThreads) next.data[k * next.ld + i] = T(0);
}

}  // namespace

template <typename T>
void lanczos_update(const Context& ctx, MatrixView<const T> w, MatrixView<const T> v,
                    MatrixView<const T> v_prev, MatrixView<T> next, MatrixView<double> state,
                    VectorView<double> alpha, VectorView<double> beta, double breakdown_tolerance) {
  const ScopedDevice device(ctx.device);
  const cudaStream_t stream = stream_of(ctx);
  const index_t rows = w.rows, num = num_slabs(w.cols);
  auto workspace = ctx.workspace;
  double* partial = carve<double>(workspace, rows * num);
  const Operands<T> x{w, v, v_prev, state.data, state.ld};
  const dim3 blocks = make_grid(rows * num), row_blocks = make_grid(rows);
  const auto slabs = static_cast<unsigned>(num);

  const bool aligned = rows_are_aligned(w) && rows_are_aligned(v) && rows_are_aligned(v_prev) &&
                       rows_are_aligned(next);
  launch(aligned ? lanczos_update_alpha_kernel<true, T> : lanczos_update_alpha_kernel<false, T>,
         blocks, kThreads, 0, stream, x, slabs, partial);
  launch(lanczos_update_alpha_finish_kernel, row_blocks, kThreads, 0, stream, partial, slabs,
         MatrixView<const double>{state.data, state.rows, state.cols, state.ld}, alpha);
  launch(aligned ? lanczos_update_next_kernel<true, T> : lanczos_update_next_kernel<false, T>,
         blocks, kThreads, 0, stream, x, alpha, next, slabs, partial);
  launch(lanczos_update_beta_finish_kernel<T>, row_blocks, kThreads, 0, stream, partial, slabs,
         state, alpha, beta, next, breakdown_tolerance);
}

HESSCOPE_INSTANTIATE_LANCZOS(float)
HESSCOPE_INSTANTIATE_LANCZOS(double)

}  // namespace hesscope::cuda
