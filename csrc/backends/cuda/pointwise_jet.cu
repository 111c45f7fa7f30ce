#include "backends/cuda/device/elements.cuh"
#include "backends/cuda/launch.h"
#include "kernels/pointwise_jet_kernels.h"
#include "math/pointwise_jet.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 256;

template <bool kAligned, int kWidth, typename T>
__device__ inline void load_maybe(const T* row, index_t shift, index_t i, index_t end,
                                  T (&to)[kWidth]) {
  if (row != nullptr) {
    load_elements<kAligned>(row + shift, i, end, to);
  } else {
#pragma unroll
    for (int e = 0; e < kWidth; ++e) to[e] = T(0);
  }
}

// Coefficients of f(x) or g f(x), formulas in math/pointwise_jet.h. A thread takes 16 bytes of a
// row; the K probes of a piece are neighbours in the grid, so that the derivatives come from memory
// once and from the L2 cache K - 1 times. Memory bound: reads every coefficient once, writes once.
template <int kCount, bool kMixed, bool kProduct, bool kAligned, typename T>
__global__ void __launch_bounds__(kThreads) pointwise_jet_kernel(PointwiseJet<T> jet) {
  constexpr int kWidth = kVectorWidth<T>, kOrder = kMixed ? 2 : kCount;
  const index_t probe = index_t{blockIdx.x} % jet.probes, piece = index_t{blockIdx.x} / jet.probes;
  const index_t i = (piece * kThreads + threadIdx.x) * kWidth, end = jet.size;
  if (i >= end) return;
  const index_t shift = probe * end;
  T f[kOrder + 1][kWidth], x[kCount][kWidth], g[kCount][kWidth], g_value[kWidth],
      out[kCount][kWidth];
#pragma unroll
  for (int d = kProduct ? 0 : 1; d <= kOrder; ++d) {
    load_elements<kAligned>(jet.taylor[d], i, end, f[d]);
  }
  if constexpr (kProduct) load_elements<kAligned>(jet.g_value, i, end, g_value);
#pragma unroll
  for (int k = 0; k < kCount; ++k) {
    load_maybe<kAligned>(jet.x[k], shift, i, end, x[k]);
    if constexpr (kProduct) load_maybe<kAligned>(jet.g[k], shift, i, end, g[k]);
  }
#pragma unroll
  for (int e = 0; e < kWidth; ++e) {
    T f_e[kOrder + 1], x_e[kCount], g_e[kCount] = {}, found[kCount];
#pragma unroll
    for (int d = kProduct ? 0 : 1; d <= kOrder; ++d) f_e[d] = f[d][e];
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      x_e[k] = x[k][e];
      if constexpr (kProduct) g_e[k] = g[k][e];
    }
    pointwise_element<kCount, kMixed, kProduct>(f_e, x_e, kProduct ? g_value[e] : T(0), g_e, found);
#pragma unroll
    for (int k = 0; k < kCount; ++k) out[k][e] = found[k];
  }
#pragma unroll
  for (int k = 0; k < kCount; ++k) {
    if (jet.out[k] != nullptr) store_elements<kAligned>(jet.out[k] + shift, i, end, out[k]);
  }
}

/// Whether every row starts at a multiple of 16 bytes.
template <typename T>
bool is_aligned(const PointwiseJet<T>& jet) {
  bool aligned = jet.size % kVectorWidth<T> == 0;
  const auto check = [&](const T* tensor) {
    aligned = aligned && reinterpret_cast<std::uintptr_t>(tensor) % 16 == 0;
  };
  for (const T* tensor : jet.taylor) check(tensor);
  check(jet.g_value);
  for (int k = 0; k < kMaxMonomials; ++k) {
    check(jet.x[k]);
    check(jet.g[k]);
    check(jet.out[k]);
  }
  return aligned;
}

template <int kCount, bool kMixed, bool kProduct, typename T>
void launch_jet(const Context& ctx, const PointwiseJet<T>& jet) {
  const ScopedDevice device(ctx.device);
  const auto kernel = is_aligned(jet) ? pointwise_jet_kernel<kCount, kMixed, kProduct, true, T>
                                      : pointwise_jet_kernel<kCount, kMixed, kProduct, false, T>;
  const index_t pieces = ceil_div(jet.size, kThreads * kVectorWidth<T>);
  launch(kernel, make_grid(pieces * jet.probes), kThreads, 0, stream_of(ctx), jet);
}

}  // namespace

template <typename T>
void pointwise_jet(const Context& ctx, const PointwiseJet<T>& jet) {
  visit_jet(jet, [&]<int kCount, bool kMixed, bool kProduct>() {
    launch_jet<kCount, kMixed, kProduct>(ctx, jet);
  });
}

HESSCOPE_INSTANTIATE_POINTWISE_JET(float)
HESSCOPE_INSTANTIATE_POINTWISE_JET(double)

}  // namespace hesscope::cuda
