#include "backends/cuda/aligned.h"
#include "backends/cuda/device/group.cuh"
#include "backends/cuda/launch.h"
#include "kernels/softmax_jet_kernels.h"
#include "math/softmax_jet.h"
#include "math/widen.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 256;
constexpr index_t kWarpRow = 2048;  // columns that a warp takes on alone; more take a block

// One warp a row: p = exp(x - max) / sum. Three passes over a row, from L1 after the first.
template <typename T>
__global__ void __launch_bounds__(kWarpSize) softmax_kernel(MatrixView<const T> x,  // [B, C]
                                                            MatrixView<T> p,        // [B, C]
                                                            MatrixView<T> log_sum   // [B, 1]
) {
  const index_t b = blockIdx.x;
  const T* row = x.data + b * x.ld;
  double largest = row[0];
  for (index_t c = threadIdx.x; c < x.cols; c += kWarpSize) {
    largest = row[c] > largest ? static_cast<double>(row[c]) : largest;
  }
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    const double other = __shfl_xor_sync(kFullWarp, largest, distance);
    largest = other > largest ? other : largest;
  }
  double sum = 0;
  for (index_t c = threadIdx.x; c < x.cols; c += kWarpSize) sum += exp(row[c] - largest);
  sum = warp_sum(sum);
  for (index_t c = threadIdx.x; c < x.cols; c += kWarpSize) {
    p.data[b * p.ld + c] = static_cast<T>(exp(row[c] - largest) / sum);
  }
  if (threadIdx.x == 0) log_sum.data[b * log_sum.ld] = static_cast<T>(largest + log(sum));
}

// Coefficients of w p or w log p, formulas in math/softmax_jet.h. kShare threads work on a row; the
// K probes of a row are neighbours in the grid, so that p comes from memory once. Sums of p x_k,
// from order 2 on of products of coefficients, then the outputs. Memory bound: reads every x_k once
// from memory, later from cache, and writes out once.
template <int kOrder, bool kLogarithm, int kShare, bool kAligned, typename T>
__global__ void __launch_bounds__(kThreads) softmax_jet_kernel(SoftmaxJet<T> jet) {
  constexpr int kWidth = kVectorWidth<T>;
  const index_t task = index_t{blockIdx.x} * (kThreads / kShare) + threadIdx.x / kShare;
  const index_t b = task / jet.probes, k = task % jet.probes, cols = jet.cols;
  if (b >= jet.rows) return;
  const index_t at = (k * jet.rows + b) * cols;
  const T* p_row = jet.p + b * cols;

  SoftmaxMoments<kOrder, T> m;
  double mean[kOrder] = {};
  for_each_part<kShare, kWidth>(1, 1, cols, 0, [&](index_t i, index_t end) {
    T p[kWidth], x[kWidth];
    load_elements<kAligned>(p_row, i, end, p);
#pragma unroll
    for (int j = 0; j < kOrder; ++j) {
      load_elements<kAligned>(jet.x[j] + at, i, end, x);
#pragma unroll
      for (int e = 0; e < kWidth; ++e) mean[j] += widen(p[e]) * widen(x[e]);
    }
  });
#pragma unroll
  for (int j = 0; j < kOrder; ++j) m.mean[j] = static_cast<T>(group_sum<kShare>(mean[j]));
  if constexpr (kOrder >= 2) {
    double sum[kOrder - 1] = {};
    for_each_part<kShare, kWidth>(1, 1, cols, 0, [&](index_t i, index_t end) {
      T p[kWidth], x1[kWidth], x2[kWidth];
      load_elements<kAligned>(p_row, i, end, p);  // zero behind the end
      load_elements<kAligned>(jet.x[0] + at, i, end, x1);
      if constexpr (kOrder >= 3) load_elements<kAligned>(jet.x[1] + at, i, end, x2);
#pragma unroll
      for (int e = 0; e < kWidth; ++e) {
        double part;
        const double c1 = widen(x1[e]) - widen(m.mean[0]);
        softmax_second(c1, part);
        sum[0] += widen(p[e]) * part;
        if constexpr (kOrder >= 3) {
          softmax_third(c1, widen(x2[e]) - widen(m.mean[1]), part);
          sum[1] += widen(p[e]) * part;
        }
      }
    });
#pragma unroll
    for (int j = 0; j + 1 < kOrder; ++j) m.sum[j] = static_cast<T>(group_sum<kShare>(sum[j]));
  }

  const T w = jet.w == nullptr ? T(1) : jet.w[b];
  for_each_part<kShare, kWidth>(1, 1, cols, 0, [&](index_t i, index_t end) {
    T p[kWidth], x[kOrder][kWidth], out[kOrder][kWidth];
    load_elements<kAligned>(p_row, i, end, p);
#pragma unroll
    for (int j = 0; j < kOrder; ++j) load_elements<kAligned>(jet.x[j] + at, i, end, x[j]);
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      T in[kOrder], found[kOrder];
#pragma unroll
      for (int j = 0; j < kOrder; ++j) in[j] = x[j][e];
      softmax_element<kOrder, kLogarithm>(in, p[e], w, m, found);
#pragma unroll
      for (int j = 0; j < kOrder; ++j) out[j][e] = found[j];
    }
#pragma unroll
    for (int j = 0; j < kOrder; ++j) store_elements<kAligned>(jet.out[j] + at, i, end, out[j]);
  });
}

template <bool kAligned, int kWidth, typename T>
__device__ inline void load_maybe(const T* row, index_t i, index_t end, T (&to)[kWidth]) {
  if (row != nullptr) {
    load_elements<kAligned>(row, i, end, to);
  } else {
#pragma unroll
    for (int e = 0; e < kWidth; ++e) to[e] = T(0);
  }
}

// out = p (dg - <p, dg> - <g, dp>) + dp (g - <p, g>). Memory bound: reads dg, dp, g and p once from
// memory and once from cache, writes out once.
template <int kShare, bool kAligned, typename T>
__global__ void __launch_bounds__(kThreads) softmax_jet_backward_kernel(SoftmaxJetBackward<T> jet) {
  constexpr int kWidth = kVectorWidth<T>;
  const index_t task = index_t{blockIdx.x} * (kThreads / kShare) + threadIdx.x / kShare;
  const index_t b = task / jet.probes, k = task % jet.probes, cols = jet.cols;
  if (b >= jet.rows) return;
  const index_t at = (k * jet.rows + b) * cols;
  const T* dg = jet.dg == nullptr ? nullptr : jet.dg + at;
  const T* dp = jet.dp == nullptr ? nullptr : jet.dp + at;
  const T *g = jet.g + b * cols, *p = jet.p + b * cols;

  double dot = 0;
  T dg_i[kWidth], dp_i[kWidth], g_i[kWidth], p_i[kWidth], out[kWidth];
  for_each_part<kShare, kWidth>(1, 1, cols, 0, [&](index_t i, index_t end) {
    load_maybe<kAligned>(dg, i, end, dg_i);
    load_maybe<kAligned>(dp, i, end, dp_i);
    load_elements<kAligned>(g, i, end, g_i);
    load_elements<kAligned>(p, i, end, p_i);
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      dot += widen(dg_i[e]) * widen(p_i[e]) + widen(dp_i[e]) * widen(g_i[e]);
    }
  });
  const T along = jet.along[b], along_d = static_cast<T>(group_sum<kShare>(dot));
  for_each_part<kShare, kWidth>(1, 1, cols, 0, [&](index_t i, index_t end) {
    load_maybe<kAligned>(dg, i, end, dg_i);
    load_maybe<kAligned>(dp, i, end, dp_i);
    load_elements<kAligned>(g, i, end, g_i);
    load_elements<kAligned>(p, i, end, p_i);
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      softmax_backward_element(dg_i[e], dp_i[e], g_i[e], p_i[e], along, along_d, out[e]);
    }
    store_elements<kAligned>(jet.out + at, i, end, out);
  });
}

/// Whether rows of so many columns start at multiples of 16 bytes in all of these.
template <typename T>
bool are_aligned(index_t cols, std::initializer_list<const T*> tensors) {
  bool aligned = cols % kVectorWidth<T> == 0;
  for (const T* tensor : tensors) {
    aligned = aligned && reinterpret_cast<std::uintptr_t>(tensor) % 16 == 0;
  }
  return aligned;
}

/// Launches the kernel for a warp or a block a row, by the number of columns.
template <typename Kernel, typename Jet>
void launch_rows(const Context& ctx, Kernel warp, Kernel block, const Jet& jet) {
  const bool alone = jet.cols <= kWarpRow;
  const index_t rows = jet.probes * jet.rows;
  launch(alone ? warp : block, make_grid(alone ? ceil_div(rows, kThreads / kWarpSize) : rows),
         kThreads, 0, stream_of(ctx), jet);
}

template <int kOrder, bool kLogarithm, typename T>
void jet_of(const Context& ctx, const SoftmaxJet<T>& jet) {
  if (are_aligned<T>(jet.cols,
                     {jet.p, jet.x[0], jet.x[1], jet.x[2], jet.out[0], jet.out[1], jet.out[2]})) {
    launch_rows(ctx, softmax_jet_kernel<kOrder, kLogarithm, kWarpSize, true, T>,
                softmax_jet_kernel<kOrder, kLogarithm, kThreads, true, T>, jet);
  } else {
    launch_rows(ctx, softmax_jet_kernel<kOrder, kLogarithm, kWarpSize, false, T>,
                softmax_jet_kernel<kOrder, kLogarithm, kThreads, false, T>, jet);
  }
}

template <int kOrder, typename T>
void jet_of_order(const Context& ctx, const SoftmaxJet<T>& jet) {
  jet.logarithm ? jet_of<kOrder, true>(ctx, jet) : jet_of<kOrder, false>(ctx, jet);
}

}  // namespace

template <typename T>
void softmax(const Context& ctx, MatrixView<const T> x, MatrixView<T> p, MatrixView<T> log_sum) {
  const ScopedDevice device(ctx.device);
  launch(softmax_kernel<T>, make_grid(x.rows), kWarpSize, 0, stream_of(ctx), x, p, log_sum);
}

template <typename T>
void softmax_jet(const Context& ctx, const SoftmaxJet<T>& jet) {
  const ScopedDevice device(ctx.device);
  switch (jet.order) {
    case 1:
      return jet_of_order<1>(ctx, jet);
    case 2:
      return jet_of_order<2>(ctx, jet);
    default:
      return jet_of_order<3>(ctx, jet);
  }
}

template <typename T>
void softmax_jet_backward(const Context& ctx, const SoftmaxJetBackward<T>& jet) {
  const ScopedDevice device(ctx.device);
  if (are_aligned<T>(jet.cols, {jet.dg, jet.dp, jet.g, jet.p, jet.out})) {
    launch_rows(ctx, softmax_jet_backward_kernel<kWarpSize, true, T>,
                softmax_jet_backward_kernel<kThreads, true, T>, jet);
  } else {
    launch_rows(ctx, softmax_jet_backward_kernel<kWarpSize, false, T>,
                softmax_jet_backward_kernel<kThreads, false, T>, jet);
  }
}

HESSCOPE_INSTANTIATE_SOFTMAX_JET(float)
HESSCOPE_INSTANTIATE_SOFTMAX_JET(double)

}  // namespace hesscope::cuda
