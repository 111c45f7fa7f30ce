#include <cstdint>

#include "backends/cuda/aligned.h"
#include "backends/cuda/device/elements.cuh"
#include "backends/cuda/launch.h"
#include "kernels/gemm_kernels.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 64;   // rows and columns of c that a block computes
constexpr int kDepth = 16;  // terms of the sum in shared memory at a time
constexpr int kPart = 4;    // rows and columns of c that a thread computes, and elements it loads
static_assert(kTile * kDepth == kThreads * kPart && kTile * kTile == kThreads * kPart * kPart);

/// How a tile of an operand is read: four neighbours at a time along the sum or across it, in
/// 16-byte loads, or one by one where strides or alignment allow neither.
enum class Loads : std::uint8_t { along, across, single };

/// An operand seen from the sum: element (i, p) of row or column i and term p.
template <typename T>
struct Factor {
  const T* data;
  index_t count, batch_stride, across_stride, along_stride;
  Loads loads;
};

template <typename T>
using Slot = Vector<T>[kTile / kVectorWidth<T> + 1];  // one term of a tile, padded

/// Four elements of the tile of terms [first_term, first_term + kDepth) and of rows or columns from
/// `first`: those that this thread moves. Zero outside.
template <typename T>
__device__ inline void read_part(const Factor<T>& factor, const T* matrix, index_t first,
                                 index_t first_term, index_t terms, T (&part)[kPart]) {
  const int t = static_cast<int>(threadIdx.x);
  if (factor.loads == Loads::along) {
    const index_t i = first + t / (kDepth / kPart), p = first_term + t % (kDepth / kPart) * kPart;
    const index_t end = i < factor.count ? terms : 0;
    load_elements<true>(matrix + i * factor.across_stride, p, end, part);
    return;
  }
  const index_t i = first + t % (kTile / kPart) * kPart, p = first_term + t / (kTile / kPart);
  const index_t end = p < terms ? factor.count : 0;
  const T* row = matrix + p * factor.along_stride;
  if (factor.loads == Loads::across) {
    load_elements<true>(row, i, end, part);
  } else {
#pragma unroll
    for (int e = 0; e < kPart; ++e) part[e] = i + e < end ? row[(i + e) * factor.across_stride] : 0;
  }
}

template <typename T>
__device__ inline void write_part(Slot<T>* tile,  // [kDepth]
                                  Loads loads, const T (&part)[kPart]) {
  constexpr int kWidth = kVectorWidth<T>;
  const int t = static_cast<int>(threadIdx.x);
  const bool along = loads == Loads::along;
  const int i = along ? t / (kDepth / kPart) : t % (kTile / kPart) * kPart;
  const int p = along ? t % (kDepth / kPart) * kPart : t / (kTile / kPart);
#pragma unroll
  for (int e = 0; e < kPart; ++e) {
    const int row = along ? i : i + e;
    tile[along ? p + e : p][row / kWidth].element[row % kWidth] = part[e];
  }
}

template <typename T>
__device__ inline void read_shared(const Slot<T>& slot, int first, T (&part)[kPart]) {
  constexpr int kWidth = kVectorWidth<T>;
#pragma unroll
  for (int v = 0; v < kPart / kWidth; ++v) {
    const Vector<T> vector = slot[first / kWidth + v];
#pragma unroll
    for (int e = 0; e < kWidth; ++e) part[v * kWidth + e] = vector.element[e];
  }
}

// c[b] = alpha * a[b] x[b] + beta * c[b]. A block per tile of c and matrix, 4 x 4 elements a
// thread; kDepth terms of both operands in shared memory, the next ones on their way in registers.
// An element is one chain in the order of the sum, whatever the tile. Bound by arithmetic where the
// matrices are large: 2 kTile operations for every element read, m n k (1 / kTile + 1 / kTile) *
// sizeof(T) bytes from L2 or memory.
template <typename T>
__global__ void __launch_bounds__(kThreads, 2)
    gemm_kernel(T alpha, Factor<T> a, Factor<T> x, index_t terms, T beta, BatchView<T> c,
                bool aligned, unsigned tiles, unsigned tiles_across) {
  HESSCOPE_SHARED(Slot<T>, left, kDepth);
  HESSCOPE_SHARED(Slot<T>, right, kDepth);
  const index_t b = blockIdx.x / tiles;
  const unsigned tile = blockIdx.x % tiles;
  const index_t row0 = index_t{tile / tiles_across} * kTile;
  const index_t col0 = index_t{tile % tiles_across} * kTile;
  const int row = static_cast<int>(threadIdx.x) / (kTile / kPart) * kPart;
  const int col = static_cast<int>(threadIdx.x) % (kTile / kPart) * kPart;
  const T *first = a.data + b * a.batch_stride, *second = x.data + b * x.batch_stride;

  T sum[kPart][kPart] = {};
  T next_left[kPart], next_right[kPart];
  read_part(a, first, row0, 0, terms, next_left);
  read_part(x, second, col0, 0, terms, next_right);
  for (index_t p = 0; p < terms; p += kDepth) {
    write_part<T>(left, a.loads, next_left);
    write_part<T>(right, x.loads, next_right);
    __syncthreads();
    read_part(a, first, row0, p + kDepth, terms, next_left);
    read_part(x, second, col0, p + kDepth, terms, next_right);
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      T u[kPart], v[kPart];
      read_shared<T>(left[d], row, u);
      read_shared<T>(right[d], col, v);
#pragma unroll
      for (int i = 0; i < kPart; ++i) {
#pragma unroll
        for (int j = 0; j < kPart; ++j) sum[i][j] += u[i] * v[j];
      }
    }
    __syncthreads();
  }

#pragma unroll
  for (int i = 0; i < kPart; ++i) {
    if (row0 + row + i >= c.rows) continue;
    T* to = c.data + b * c.batch_stride + (row0 + row + i) * c.ld;
    T value[kPart] = {};
    if (beta != 0) {
      if (aligned) {
        load_elements<true>(to, col0 + col, c.cols, value);
      } else {
        load_elements<false>(to, col0 + col, c.cols, value);
      }
    }
#pragma unroll
    for (int j = 0; j < kPart; ++j)
      value[j] = alpha * sum[i][j] + (beta != 0 ? beta * value[j] : 0);
    if (aligned) {
      store_elements<true>(to, col0 + col, c.cols, value);
    } else {
      store_elements<false>(to, col0 + col, c.cols, value);
    }
  }
}

template <typename T>
Factor<T> factor(const T* data, index_t count, index_t batch, index_t batch_stride,
                 index_t across_stride, index_t along_stride) {
  const auto aligned = [&](index_t stride) {
    return rows_are_aligned(BatchView<const T>{data, batch, 2, 0, batch_stride, stride});
  };
  Loads loads = Loads::single;
  if (along_stride == 1 && aligned(across_stride)) loads = Loads::along;
  if (across_stride == 1 && aligned(along_stride)) loads = Loads::across;
  return {data, count, batch_stride, across_stride, along_stride, loads};
}

}  // namespace

template <typename T>
void gemm(const Context& ctx, T alpha, GemmOperand<T> a, GemmOperand<T> x, T beta, BatchView<T> c) {
  const ScopedDevice device(ctx.device);
  const index_t across = ceil_div(c.cols, kTile), tiles = ceil_div(c.rows, kTile) * across;
  const dim3 grid = make_grid(c.batch * tiles);
  launch(gemm_kernel<T>, grid, kThreads, 0, stream_of(ctx), alpha,
         factor(a.data, a.rows, c.batch, a.batch_stride, a.row_stride, a.col_stride),
         factor(x.data, x.cols, c.batch, x.batch_stride, x.col_stride, x.row_stride),
         alpha == 0 ? 0 : a.cols, beta, c, rows_are_aligned(c), static_cast<unsigned>(tiles),
         static_cast<unsigned>(across));
}

HESSCOPE_INSTANTIATE_GEMM(float)
HESSCOPE_INSTANTIATE_GEMM(double)

}  // namespace hesscope::cuda
