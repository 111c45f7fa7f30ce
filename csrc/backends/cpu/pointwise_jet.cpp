#include "math/pointwise_jet.h"

#include "backends/cpu/lanes.h"
#include "backends/cpu/parallel.h"
#include "kernels/pointwise_jet_kernels.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

constexpr index_t kBlock = 512;             // elements whose values stay in L1 for all probes
constexpr index_t kTaskElements = 1 << 14;  // less is not worth a thread

/// The tensors of a block for one probe, each from its first element on.
template <int kCount, typename T>
struct Block {
  const T* taylor[kMaxMonomials + 1];
  const T *x[kCount], *g[kCount], *g_value;
  T* out[kCount];
};

/// Elements i, ..., of a block, W side by side.
template <int W, int kCount, bool kMixed, bool kProduct, typename T>
inline void jet_lanes(const Block<kCount, T>& block, index_t i) {
  constexpr int kOrder = kMixed ? 2 : kCount;
  using V = Lanes<T, W>;
  V f[kOrder + 1], x[kCount], g[kCount] = {}, g_value = {}, out[kCount];
  for (int d = kProduct ? 0 : 1; d <= kOrder; ++d) load_lanes(f[d], block.taylor[d] + i);
  for (int k = 0; k < kCount; ++k) load_lanes(x[k], block.x[k] + i);
  if constexpr (kProduct) {
    load_lanes(g_value, block.g_value + i);
    for (int k = 0; k < kCount; ++k) load_lanes(g[k], block.g[k] + i);
  }
  pointwise_element<kCount, kMixed, kProduct>(f, x, g_value, g, out);
  for (int k = 0; k < kCount; ++k) store_lanes(block.out[k] + i, out[k]);
}

template <int kCount, bool kMixed, bool kProduct, typename T>
void jet_block(const PointwiseJet<T>& jet, index_t begin) {
  constexpr int kWidth = 64 / static_cast<int>(sizeof(T));
  const index_t left = jet.size - begin, count = left < kBlock ? left : kBlock;
  const T zeros[kBlock] = {};
  T unwanted[kBlock];
  Block<kCount, T> block;
  for (int d = 0; d <= kMaxMonomials; ++d) {
    block.taylor[d] = jet.taylor[d] == nullptr ? zeros : jet.taylor[d] + begin;
  }
  block.g_value = kProduct ? jet.g_value + begin : zeros;
  for (index_t probe = 0; probe < jet.probes; ++probe) {
    const index_t at = probe * jet.size + begin;
    for (int k = 0; k < kCount; ++k) {
      block.x[k] = jet.x[k] == nullptr ? zeros : jet.x[k] + at;
      block.g[k] = jet.g[k] == nullptr ? zeros : jet.g[k] + at;
      block.out[k] = jet.out[k] == nullptr ? unwanted : jet.out[k] + at;
    }
    index_t i = 0;
    for (; i + kWidth <= count; i += kWidth) {
      jet_lanes<kWidth, kCount, kMixed, kProduct>(block, i);
    }
    for (; i < count; ++i) jet_lanes<1, kCount, kMixed, kProduct>(block, i);
  }
}

}  // namespace

template <typename T>
void pointwise_jet(const Context& ctx, const PointwiseJet<T>& jet) {
  const index_t blocks = ceil_div(jet.size, kBlock);
  const index_t step = ceil_div(kTaskElements, kBlock * jet.probes);
  visit_jet(jet, [&]<int kCount, bool kMixed, bool kProduct>() {
    cpu::parallel_for(ctx.num_threads, ceil_div(blocks, step), [&](index_t task) {
      const index_t last = (task + 1) * step < blocks ? (task + 1) * step : blocks;
      for (index_t b = task * step; b < last; ++b) {
        jet_block<kCount, kMixed, kProduct>(jet, b * kBlock);
      }
    });
  });
}

HESSCOPE_INSTANTIATE_POINTWISE_JET(float)
HESSCOPE_INSTANTIATE_POINTWISE_JET(double)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
