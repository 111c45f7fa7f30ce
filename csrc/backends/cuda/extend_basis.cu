#include "backends/cuda/aligned.h"
#include "backends/cuda/device/elements.cuh"
#include "backends/cuda/device/reduce.cuh"
#include "backends/cuda/launch.h"
#include "kernels/extend_basis_kernels.h"
#include "kernels/workspace.h"
#include "math/accumulate.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarpSize;

// One block per slab and basis, a chunk of kThreads * kWidth columns at a time: the threads make x
// and r of their columns, then every warp takes a row in turn and reads its chunk again. At 100
// rows of float32 a chunk is 200 KB: the second reading comes from L2, memory is read once.
template <bool kAligned, typename T>
__global__ void __launch_bounds__(kThreads)
    extend_basis_partial_kernel(BatchView<T> q,         // [B, j + 1, n]
                                MatrixView<T> v,        // [B, n]
                                MatrixView<const T> w,  // [B, n]
                                MatrixView<const double> before, MatrixView<const double> after,
                                unsigned slabs,
                                double* __restrict__ partial  // [slabs, B, j + 2]
    ) {
  constexpr int kWidth = kVectorWidth<T>, kChunk = kThreads * kWidth;
  HESSCOPE_SHARED(T, projected, kChunk);
  const index_t s = blockIdx.x % slabs, b = blockIdx.x / slabs, j = q.rows - 1;
  const index_t first = s * kSlab, end = min(first + kSlab, q.cols);
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const double* a = before.data + b * before.ld;
  const double* g = after.data + b * after.ld;
  T* rows = q.data + b * q.batch_stride;
  T* vector = v.data + b * v.ld;
  const T* product = w.data + b * w.ld;
  double* sums = partial + (s * q.batch + b) * (j + 2);

  for (index_t begin = first; begin < end; begin += kChunk) {
    const index_t i = begin + threadIdx.x * kWidth;
    T y[kWidth] = {};
    if (i < end) {
      double x[kWidth], r[kWidth];
      load_elements<kAligned>(vector, i, end, y);
#pragma unroll
      for (int e = 0; e < kWidth; ++e) x[e] = widen(y[e]) * a[j];
      load_elements<kAligned>(product, i, end, y);
#pragma unroll
      for (int e = 0; e < kWidth; ++e) r[e] = widen(y[e]) * g[j + 1];
      const T* row = rows;
#pragma unroll 4
      for (index_t k = 0; k < j; ++k, row += q.ld) {
        load_elements<kAligned>(row, i, end, y);
#pragma unroll
        for (int e = 0; e < kWidth; ++e) {
          x[e] = mul_add(y[e], a[k], x[e]);
          r[e] = mul_add(y[e], g[k], r[e]);
        }
      }
#pragma unroll
      for (int e = 0; e < kWidth; ++e) y[e] = static_cast<T>(x[e]);
      store_elements<kAligned>(rows + j * q.ld, i, end, y);
#pragma unroll
      for (int e = 0; e < kWidth; ++e) y[e] = static_cast<T>(mul_add(y[e], g[j], r[e]));
      store_elements<kAligned>(vector, i, end, y);
    }
#pragma unroll
    for (int e = 0; e < kWidth; ++e) projected[threadIdx.x * kWidth + e] = y[e];
    __syncthreads();

    for (index_t k = warp; k <= j + 1; k += kWarps) {
      double sum = 0;
#pragma unroll
      for (int at = 0; at < kChunk; at += kWarpSize * kWidth) {
        const int column = at + lane * kWidth;
        T z[kWidth];
        if (k <= j) {
          load_elements<kAligned>(rows + k * q.ld, begin + column, end, z);
        } else {
#pragma unroll
          for (int e = 0; e < kWidth; ++e) z[e] = projected[column + e];
        }
#pragma unroll
        for (int e = 0; e < kWidth; ++e) sum = mul_add(z[e], projected[column + e], sum);
      }
      sum = warp_sum(sum);
      if (lane == 0) sums[k] = begin == first ? sum : sums[k] + sum;
    }
    __syncthreads();  // the next chunk writes `projected` again
  }
}

// d[b, k] += sum_s partial[s, b, k]. One thread per sum, in slab order: strips of whole slabs, one
// after the other, give the bits of all at once.
__global__ void __launch_bounds__(kThreads)
    extend_basis_finish_kernel(const double* __restrict__ partial,  // [slabs, B, j + 2]
                               unsigned slabs,
                               MatrixView<double> d  // [B, j + 2]
    ) {
  const index_t count = d.rows * d.cols, k = index_t{blockIdx.x} * kThreads + threadIdx.x;
  if (k >= count) return;
  double& total = d.data[k / d.cols * d.ld + k % d.cols];
  double sum = total;
#pragma unroll 8
  for (unsigned s = 0; s < slabs; ++s) sum += partial[s * count + k];
  total = sum;
}

}  // namespace

template <typename T>
void extend_basis(const Context& ctx, BatchView<T> q, MatrixView<T> v, MatrixView<const T> w,
                  MatrixView<const double> before, MatrixView<const double> after,
                  MatrixView<double> d) {
  const ScopedDevice device(ctx.device);
  const index_t slabs = num_slabs(q.cols);
  auto workspace = ctx.workspace;
  double* partial = carve<double>(workspace, slabs * q.batch * d.cols);

  const bool aligned = rows_are_aligned(q) && rows_are_aligned(v) && rows_are_aligned(w);
  const auto run =
      aligned ? extend_basis_partial_kernel<true, T> : extend_basis_partial_kernel<false, T>;
  launch(run, make_grid(slabs * q.batch), kThreads, 0, stream_of(ctx), q, v, w, before, after,
         static_cast<unsigned>(slabs), partial);
  launch(extend_basis_finish_kernel, make_grid(ceil_div(d.rows * d.cols, kThreads)), kThreads, 0,
         stream_of(ctx), partial, static_cast<unsigned>(slabs), d);
}

HESSCOPE_INSTANTIATE_EXTEND_BASIS(float)
HESSCOPE_INSTANTIATE_EXTEND_BASIS(double)

}  // namespace hesscope::cuda
