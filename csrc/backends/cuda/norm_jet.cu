#include "backends/cuda/device/group.cuh"
#include "backends/cuda/launch.h"
#include "kernels/norm_jet_kernels.h"
#include "math/norm_jet.h"
#include "math/widen.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 256;
constexpr index_t kWarpGroup = 2048;  // elements that a warp takes on alone; more take a block

template <bool kAligned, int kWidth, typename T>
__device__ inline void load_maybe(const T* tensor, index_t at, index_t end, T (&to)[kWidth]) {
  if (tensor != nullptr) {
    load_elements<kAligned>(tensor, at, end, to);
  } else {
#pragma unroll
    for (int e = 0; e < kWidth; ++e) to[e] = T(0);
  }
}

// Coefficients of y = (x - mean) rstd, formulas in math/norm_jet.h. kShare threads work on a group:
// sums of x_k and y x_k, from order 2 on of products of coefficients, then the outputs. Memory
// bound: reads x and y once from memory, later from cache, and writes out once.
template <int kOrder, int kShare, bool kAligned, typename T>
__global__ void __launch_bounds__(kThreads) norm_jet_kernel(NormJet<T> jet) {
  constexpr int kWidth = kVectorWidth<T>;
  const NormShape s = jet.shape;
  const index_t task = index_t{blockIdx.x} * (kThreads / kShare) + threadIdx.x / kShare;
  if (task >= s.probes * s.groups) return;
  const index_t probe = task / s.groups, g = task % s.groups;
  const index_t elements = s.outer * s.groups * s.inner, shift = probe * elements;
  const auto size = static_cast<double>(s.outer * s.inner);

  NormMoments<kOrder> m;
  for_each_part<kShare, kWidth>(s.outer, s.groups, s.inner, g, [&](index_t at, index_t end) {
    T y[kWidth], x[kWidth];
    load_elements<kAligned>(jet.y, at, end, y);
#pragma unroll
    for (int k = 0; k < kOrder; ++k) {
      load_elements<kAligned>(jet.x[k] + shift, at, end, x);
#pragma unroll
      for (int e = 0; e < kWidth; ++e) {
        m.mean[k] += widen(x[e]);
        m.along[k] += widen(x[e]) * widen(y[e]);
      }
    }
  });
#pragma unroll
  for (int k = 0; k < kOrder; ++k) {
    m.mean[k] = jet.centred ? group_sum<kShare>(m.mean[k]) / size : 0.0;
    m.along[k] = group_sum<kShare>(m.along[k]) / size;
  }
  if constexpr (kOrder >= 2) {
    for_each_part<kShare, kWidth>(s.outer, s.groups, s.inner, g, [&](index_t at, index_t end) {
      T a[kWidth], b[kWidth];
      load_elements<kAligned>(jet.x[0] + shift, at, end, a);
      load_elements<kAligned>(jet.x[1] + shift, at, end, b);
#pragma unroll
      for (int e = 0; e < kWidth; ++e) {
        if (at + e >= end) break;
        const double c = widen(a[e]) - m.mean[0];
        m.squares[0] += c * c;
        if constexpr (kOrder >= 3) m.squares[1] += c * (widen(b[e]) - m.mean[1]);
      }
    });
    m.squares[0] = group_sum<kShare>(m.squares[0]) / size;
    if constexpr (kOrder >= 3) m.squares[1] = group_sum<kShare>(m.squares[1]) / size;
  }

  const T rstd = jet.rstd[g];
  double ratio[kOrder];
  norm_ratios(m, widen(rstd), ratio);
  T mean[kOrder], q[kOrder];
#pragma unroll
  for (int k = 0; k < kOrder; ++k) {
    mean[k] = static_cast<T>(m.mean[k]);
    q[k] = static_cast<T>(ratio[k]);
    if (threadIdx.x % kShare == 0) {
      if (jet.mean_out[k] != nullptr) jet.mean_out[k][task] = mean[k];
      if (jet.rstd_out[k] != nullptr) {
        jet.rstd_out[k][task] = static_cast<T>(widen(rstd) * ratio[k]);
      }
    }
  }
  if (jet.out[0] == nullptr) return;
  for_each_part<kShare, kWidth>(s.outer, s.groups, s.inner, g, [&](index_t at, index_t end) {
    T y[kWidth], x[kOrder][kWidth], out[kOrder][kWidth];
    load_elements<kAligned>(jet.y, at, end, y);
#pragma unroll
    for (int k = 0; k < kOrder; ++k) load_elements<kAligned>(jet.x[k] + shift, at, end, x[k]);
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      T in[kOrder], found[kOrder];
#pragma unroll
      for (int k = 0; k < kOrder; ++k) in[k] = x[k][e];
      norm_element<kOrder>(in, y[e], rstd, mean, q, found);
#pragma unroll
      for (int k = 0; k < kOrder; ++k) out[k][e] = found[k];
    }
#pragma unroll
    for (int k = 0; k < kOrder; ++k) store_elements<kAligned>(jet.out[k] + shift, at, end, out[k]);
  });
}

// out = rstd (dg - mean(dg) - dy along - y mean(y dg + dy g)) + drstd P(g), formulas in
// math/norm_jet.h. Memory bound: reads dg, dy, g and y once from memory and once from cache, writes
// out once.
template <int kShare, bool kAligned, typename T>
__global__ void __launch_bounds__(kThreads) norm_jet_backward_kernel(NormJetBackward<T> jet) {
  constexpr int kWidth = kVectorWidth<T>;
  const NormShape s = jet.shape;
  const index_t task = index_t{blockIdx.x} * (kThreads / kShare) + threadIdx.x / kShare;
  if (task >= s.probes * s.groups) return;
  const index_t probe = task / s.groups, g = task % s.groups;
  const index_t shift = probe * s.outer * s.groups * s.inner;
  const T* dg = jet.dg == nullptr ? nullptr : jet.dg + shift;
  const T* dy = jet.dy == nullptr ? nullptr : jet.dy + shift;
  const auto size = static_cast<double>(s.outer * s.inner);

  double sum = 0, dot = 0;
  for_each_part<kShare, kWidth>(s.outer, s.groups, s.inner, g, [&](index_t at, index_t end) {
    T a[kWidth], b[kWidth];
    load_maybe<kAligned>(dg, at, end, a);
    load_elements<kAligned>(jet.y, at, end, b);
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      sum += widen(a[e]);
      dot += widen(a[e]) * widen(b[e]);
    }
    load_maybe<kAligned>(dy, at, end, a);
    load_elements<kAligned>(jet.g, at, end, b);
#pragma unroll
    for (int e = 0; e < kWidth; ++e) dot += widen(a[e]) * widen(b[e]);
  });
  sum = group_sum<kShare>(sum);
  dot = group_sum<kShare>(dot);

  const NormBackwardGroup<T> m{jet.rstd[g],
                               jet.drstd == nullptr ? T(0) : jet.drstd[task],
                               jet.centred ? static_cast<T>(sum / size) : T(0),
                               static_cast<T>(dot / size),
                               jet.moments[g],
                               jet.moments[s.groups + g]};
  for_each_part<kShare, kWidth>(s.outer, s.groups, s.inner, g, [&](index_t at, index_t end) {
    T a[kWidth], b[kWidth], value[kWidth], y[kWidth];
    load_maybe<kAligned>(dg, at, end, a);
    load_maybe<kAligned>(dy, at, end, b);
    load_elements<kAligned>(jet.g, at, end, value);
    load_elements<kAligned>(jet.y, at, end, y);
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      norm_backward_element(m, a[e], b[e], value[e], y[e], value[e]);
    }
    store_elements<kAligned>(jet.out + shift, at, end, value);
  });
}

/// Whether rows of I elements start at multiples of 16 bytes in all of these.
template <typename T>
bool are_aligned(const NormShape& s, std::initializer_list<const T*> tensors) {
  bool aligned = s.inner % kVectorWidth<T> == 0;
  for (const T* tensor : tensors) {
    aligned = aligned && reinterpret_cast<std::uintptr_t>(tensor) % 16 == 0;
  }
  return aligned;
}

template <int kOrder, typename T>
void norm(const Context& ctx, const NormJet<T>& jet) {
  const ScopedDevice device(ctx.device);
  const NormShape& s = jet.shape;
  const bool aligned =
      are_aligned<T>(s, {jet.y, jet.x[0], jet.x[1], jet.x[2], jet.out[0], jet.out[1], jet.out[2]});
  const bool alone = s.size() <= kWarpGroup;
  const auto kernel = alone ? (aligned ? norm_jet_kernel<kOrder, kWarpSize, true, T>
                                       : norm_jet_kernel<kOrder, kWarpSize, false, T>)
                            : (aligned ? norm_jet_kernel<kOrder, kThreads, true, T>
                                       : norm_jet_kernel<kOrder, kThreads, false, T>);
  const index_t groups = s.probes * s.groups;
  launch(kernel, make_grid(alone ? ceil_div(groups, kThreads / kWarpSize) : groups), kThreads, 0,
         stream_of(ctx), jet);
}

}  // namespace

template <typename T>
void norm_jet(const Context& ctx, const NormJet<T>& jet) {
  switch (jet.order) {
    case 1:
      return norm<1>(ctx, jet);
    case 2:
      return norm<2>(ctx, jet);
    default:
      return norm<3>(ctx, jet);
  }
}

template <typename T>
void norm_jet_backward(const Context& ctx, const NormJetBackward<T>& jet) {
  const ScopedDevice device(ctx.device);
  const NormShape& s = jet.shape;
  const bool aligned = are_aligned<T>(s, {jet.dg, jet.dy, jet.g, jet.y, jet.out});
  const bool alone = s.size() <= kWarpGroup;
  const auto kernel = alone ? (aligned ? norm_jet_backward_kernel<kWarpSize, true, T>
                                       : norm_jet_backward_kernel<kWarpSize, false, T>)
                            : (aligned ? norm_jet_backward_kernel<kThreads, true, T>
                                       : norm_jet_backward_kernel<kThreads, false, T>);
  const index_t groups = s.probes * s.groups;
  launch(kernel, make_grid(alone ? ceil_div(groups, kThreads / kWarpSize) : groups), kThreads, 0,
         stream_of(ctx), jet);
}

HESSCOPE_INSTANTIATE_NORM_JET(float)
HESSCOPE_INSTANTIATE_NORM_JET(double)

}  // namespace hesscope::cuda
