#include "backends/cuda/device/reduce.cuh"
#include "backends/cuda/launch.h"
#include "kernels/contract3_kernels.h"
#include "math/contract3.h"

namespace hesscope::cuda {
namespace {

constexpr int kSide = static_cast<int>(kLargestTensorSide);
constexpr int kParts = 4;  // threads that share an entry of the result
constexpr int kThreads = kSide * kParts;

/// Vectors of one row of the batch, in shared memory.
using Vectors = double[kSide];

/// sum_ij T[i, j, l] u[i] v[j] for the entry l of this thread, in every thread of l; zero for
/// l >= k. Thread (l, part) takes i = part, part + kParts, ... and j >= i, the pair (j, i)
/// included. Call from every thread; all reads of u and v are done when it returns.
__device__ inline double contract_entry(const double* __restrict__ t, int k, const double* u,
                                        const double* v, Vectors* partial  // [kParts]
) {
  const int l = static_cast<int>(threadIdx.x) % kSide, part = static_cast<int>(threadIdx.x) / kSide;
  double sum = 0;
  for (int i = part; l < k && i < k; i += kParts) {
    sum += t[symmetric_tensor_index(k, i, i, l)] * (u[i] * v[i]);
    for (int j = i + 1; j < k; ++j) {
      sum += t[symmetric_tensor_index(k, i, j, l)] * (u[i] * v[j] + u[j] * v[i]);
    }
  }
  partial[part][l] = sum;
  __syncthreads();
  double total = 0;
#pragma unroll
  for (int p = 0; p < kParts; ++p) total += partial[p][l];
  __syncthreads();  // the next call writes partial again
  return total;
}

/// Entry l of row b, zero past the end.
__device__ inline double entry(const double* row, int k) {
  const int l = static_cast<int>(threadIdx.x) % kSide;
  return l < k ? row[l] : 0.0;
}

/// Sum over l of a value that all threads of l hold, in every thread.
__device__ inline double sum_over_entries(double value, double* total  // [1]
) {
  const double sum = block_sum<kThreads>(threadIdx.x < kSide ? value : 0.0);
  if (threadIdx.x == 0) *total = sum;
  __syncthreads();
  const double result = *total;
  __syncthreads();
  return result;
}

// A block per row of the batch: k^3 / 2 entries of T, which stays in the caches (k <= 64: 357 KB),
// are read, neighbours by neighbouring threads where l is the largest index. Bound by arithmetic on
// indices; B k^3 operations.
__global__ void __launch_bounds__(kThreads)
    contract3_kernel(const double* __restrict__ t,  // packed
                     MatrixView<const double> u,    // [B, k]
                     MatrixView<const double> v,    // [B, k]
                     MatrixView<double> out         // [B, k]
    ) {
  HESSCOPE_SHARED(Vectors, vectors, 2);
  HESSCOPE_SHARED(Vectors, partial, kParts);
  const index_t b = blockIdx.x;
  const int k = static_cast<int>(u.cols), l = static_cast<int>(threadIdx.x);
  if (l < kSide) {
    vectors[0][l] = entry(u.data + b * u.ld, k);
    vectors[1][l] = entry(v.data + b * v.ld, k);
  }
  __syncthreads();
  const double sum = contract_entry(t, k, vectors[0], vectors[1], partial);
  if (l < k) out.data[b * out.ld + l] = sum;
}

__global__ void __launch_bounds__(kThreads)
    contract3_scalar_kernel(const double* __restrict__ t,  // packed
                            MatrixView<const double> u,    // [B, k]
                            MatrixView<const double> v,    // [B, k]
                            MatrixView<const double> w,    // [B, k]
                            double* __restrict__ out       // [B]
    ) {
  HESSCOPE_SHARED(Vectors, vectors, 2);
  HESSCOPE_SHARED(Vectors, partial, kParts);
  HESSCOPE_SHARED(double, total, 1);
  const index_t b = blockIdx.x;
  const int k = static_cast<int>(u.cols), l = static_cast<int>(threadIdx.x);
  if (l < kSide) {
    vectors[0][l] = entry(u.data + b * u.ld, k);
    vectors[1][l] = entry(v.data + b * v.ld, k);
  }
  __syncthreads();
  const double sum = contract_entry(t, k, vectors[0], vectors[1], partial);
  const double value = sum_over_entries(sum * entry(w.data + b * w.ld, k), total);
  if (l == 0) out[b] = value;
}

// A block per start; all steps in one launch. Four blocks a processor: with no bound ptxas aims at
// eight on sm_90 and spills.
__global__ void __launch_bounds__(kThreads, 4)
    higher_order_power_kernel(const double* __restrict__ t,  // packed
                              MatrixView<double> x,          // [B, k]
                              double shift, index_t num_steps,
                              double* __restrict__ value,    // [B]
                              double* __restrict__ residual  // [B]
    ) {
  HESSCOPE_SHARED(Vectors, vectors, 1);
  HESSCOPE_SHARED(Vectors, partial, kParts);
  HESSCOPE_SHARED(double, total, 1);
  const index_t b = blockIdx.x;
  const int k = static_cast<int>(x.cols), l = static_cast<int>(threadIdx.x);
  double* row = x.data + b * x.ld;
  double at = entry(row, k), y = at;
  for (index_t step = 0;; ++step) {
    const double length = sqrt(sum_over_entries(y * y, total));
    if (length != 0) at = y / length;
    if (l < kSide) vectors[0][l] = at;
    __syncthreads();
    y = contract_entry(t, k, vectors[0], vectors[0], partial);
    if (step == num_steps) break;
    y += shift * at;
  }
  const double sum = sum_over_entries(y * at, total);
  const double rest = y - sum * at;
  const double square = sum_over_entries(rest * rest, total);
  if (l < k) row[l] = at;
  if (l == 0) {
    value[b] = sum;
    residual[b] = sqrt(square);
  }
}

}  // namespace

void contract3(const Context& ctx, const double* t, MatrixView<const double> u,
               MatrixView<const double> v, MatrixView<double> out) {
  const ScopedDevice device(ctx.device);
  launch(contract3_kernel, make_grid(u.rows), kThreads, 0, stream_of(ctx), t, u, v, out);
}

void contract3_scalar(const Context& ctx, const double* t, MatrixView<const double> u,
                      MatrixView<const double> v, MatrixView<const double> w, double* out) {
  const ScopedDevice device(ctx.device);
  launch(contract3_scalar_kernel, make_grid(u.rows), kThreads, 0, stream_of(ctx), t, u, v, w, out);
}

void higher_order_power(const Context& ctx, const double* t, MatrixView<double> x, double shift,
                        index_t num_steps, double* value, double* residual) {
  const ScopedDevice device(ctx.device);
  launch(higher_order_power_kernel, make_grid(x.rows), kThreads, 0, stream_of(ctx), t, x, shift,
         num_steps, value, residual);
}

}  // namespace hesscope::cuda
