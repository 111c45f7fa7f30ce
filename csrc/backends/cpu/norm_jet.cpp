#include "math/norm_jet.h"

#include "backends/cpu/chains.h"
#include "backends/cpu/parallel.h"
#include "kernels/norm_jet_kernels.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

constexpr index_t kTaskElements = 1 << 14;  // less is not worth a thread

template <typename T>
constexpr int kWidth = 64 / static_cast<int>(sizeof(T));  // elements side by side

/// Calls f(k, g) for every group, in tasks whose size depends on the shape alone.
template <typename F>
void for_each_group(const Context& ctx, const NormShape& s, const F& f) {
  const index_t groups = s.probes * s.groups, step = ceil_div(kTaskElements, s.size());
  cpu::parallel_for(ctx.num_threads, ceil_div(groups, step), [&](index_t task) {
    const index_t last = (task + 1) * step < groups ? (task + 1) * step : groups;
    for (index_t at = task * step; at < last; ++at) f(at / s.groups, at % s.groups);
  });
}

/// Calls f(begin) for every row of group g: where it begins within a tensor [O, G, I].
template <typename F>
void for_each_row(const NormShape& s, index_t g, const F& f) {
  for (index_t o = 0; o < s.outer; ++o) f((o * s.groups + g) * s.inner);
}

/// dot += sum_i (a[i] - a_mean) (b[i] - b_mean).
template <typename T>
void add_centred(const T* a, double a_mean, const T* b, double b_mean, index_t count,
                 double (&dot)[kChains]) {
  const auto add = [&](int lane, index_t i) {
    dot[lane] += (widen(a[i]) - a_mean) * (widen(b[i]) - b_mean);
  };
  index_t i = 0;
  for (; i + kChains <= count; i += kChains) {
    for (int lane = 0; lane < kChains; ++lane) add(lane, i + lane);
  }
  for (int lane = 0; i + lane < count; ++lane) add(lane, i + lane);
}

template <int kOrder, typename T>
NormMoments<kOrder> moments_of(const NormJet<T>& jet, const T* const (&x)[kOrder], index_t g) {
  const NormShape& s = jet.shape;
  const auto size = static_cast<double>(s.size());
  NormMoments<kOrder> m;
  for (int k = 0; k < kOrder; ++k) {
    ChainSum sum, dot;
    for_each_row(s, g,
                 [&](index_t at) { add_sum_and_dot(x[k] + at, jet.y + at, s.inner, sum, dot); });
    m.mean[k] = jet.centred ? sum.total() / size : 0.0;
    m.along[k] = dot.total() / size;
  }
  for (int k = 0; k + 1 < kOrder; ++k) {
    double dot[kChains] = {};
    for_each_row(s, g, [&](index_t at) {
      add_centred(x[0] + at, m.mean[0], x[k] + at, m.mean[k], s.inner, dot);
    });
    m.squares[k] = add_chains(dot) / size;
  }
  return m;
}

template <int W, int kOrder, typename T>
inline void norm_lanes(const T* const (&x)[kOrder], const T* y, T rstd, const T (&mean)[kOrder],
                       const T (&q)[kOrder], index_t i, T* const (&out)[kOrder]) {
  Lanes<T, W> in[kOrder], value, found[kOrder];
  for (int k = 0; k < kOrder; ++k) load_lanes(in[k], x[k] + i);
  load_lanes(value, y + i);
  norm_element<kOrder>(in, value, rstd, mean, q, found);
  for (int k = 0; k < kOrder; ++k) store_lanes(out[k] + i, found[k]);
}

template <int kOrder, typename T>
void norm_group(const NormJet<T>& jet, index_t probe, index_t g) {
  const NormShape& s = jet.shape;
  const T* x[kOrder];
  T* out[kOrder];
  for (int k = 0; k < kOrder; ++k) {
    x[k] = jet.x[k] + probe * s.elements();
    out[k] = jet.out[k] == nullptr ? nullptr : jet.out[k] + probe * s.elements();
  }
  const T rstd = jet.rstd[g];
  const NormMoments<kOrder> m = moments_of<kOrder>(jet, x, g);
  double ratio[kOrder];
  norm_ratios(m, widen(rstd), ratio);
  T mean[kOrder], q[kOrder];
  for (int k = 0; k < kOrder; ++k) {
    mean[k] = static_cast<T>(m.mean[k]);
    q[k] = static_cast<T>(ratio[k]);
    const index_t at = probe * s.groups + g;
    if (jet.mean_out[k] != nullptr) jet.mean_out[k][at] = mean[k];
    if (jet.rstd_out[k] != nullptr) jet.rstd_out[k][at] = static_cast<T>(widen(rstd) * ratio[k]);
  }
  if (out[0] == nullptr) return;
  for_each_row(s, g, [&](index_t at) {
    index_t i = at;
    for (; i + kWidth<T> <= at + s.inner; i += kWidth<T>) {
      norm_lanes<kWidth<T>, kOrder>(x, jet.y, rstd, mean, q, i, out);
    }
    for (; i < at + s.inner; ++i) norm_lanes<1, kOrder>(x, jet.y, rstd, mean, q, i, out);
  });
}

template <int W, bool kG, bool kY, typename T>
inline void backward_lanes(const NormBackwardGroup<T>& m, const T* dg, const T* dy, const T* g,
                           const T* y, index_t i, T* out) {
  Lanes<T, W> dg_i = {}, dy_i = {}, g_i, y_i, found;
  if constexpr (kG) load_lanes(dg_i, dg + i);
  if constexpr (kY) load_lanes(dy_i, dy + i);
  load_lanes(g_i, g + i);
  load_lanes(y_i, y + i);
  norm_backward_element(m, dg_i, dy_i, g_i, y_i, found);
  store_lanes(out + i, found);
}

template <bool kG, bool kY, typename T>
void backward_group(const NormJetBackward<T>& jet, index_t probe, index_t g) {
  const NormShape& s = jet.shape;
  const auto size = static_cast<double>(s.size());
  const T* dg = kG ? jet.dg + probe * s.elements() : nullptr;
  const T* dy = kY ? jet.dy + probe * s.elements() : nullptr;
  ChainSum sum, dot;
  for_each_row(s, g, [&](index_t at) {
    if constexpr (kG) add_sum_and_dot(dg + at, jet.y + at, s.inner, sum, dot);
    if constexpr (kY) add_dot(dy + at, jet.g + at, s.inner, dot);
  });
  const T drstd = jet.drstd == nullptr ? T(0) : jet.drstd[probe * s.groups + g];
  const NormBackwardGroup<T> m{jet.rstd[g],
                               drstd,
                               jet.centred ? static_cast<T>(sum.total() / size) : T(0),
                               static_cast<T>(dot.total() / size),
                               jet.moments[g],
                               jet.moments[s.groups + g]};
  T* out = jet.out + probe * s.elements();
  for_each_row(s, g, [&](index_t at) {
    index_t i = at;
    for (; i + kWidth<T> <= at + s.inner; i += kWidth<T>) {
      backward_lanes<kWidth<T>, kG, kY>(m, dg, dy, jet.g, jet.y, i, out);
    }
    for (; i < at + s.inner; ++i) backward_lanes<1, kG, kY>(m, dg, dy, jet.g, jet.y, i, out);
  });
}

}  // namespace

// A group at a time: its second and third pass come from cache.
template <typename T>
void norm_jet(const Context& ctx, const NormJet<T>& jet) {
  for_each_group(ctx, jet.shape, [&](index_t k, index_t g) {
    switch (jet.order) {
      case 1:
        return norm_group<1>(jet, k, g);
      case 2:
        return norm_group<2>(jet, k, g);
      default:
        return norm_group<3>(jet, k, g);
    }
  });
}

template <typename T>
void norm_jet_backward(const Context& ctx, const NormJetBackward<T>& jet) {
  for_each_group(ctx, jet.shape, [&](index_t k, index_t g) {
    if (jet.dg == nullptr) {
      jet.dy == nullptr ? backward_group<false, false>(jet, k, g)
                        : backward_group<false, true>(jet, k, g);
    } else {
      jet.dy == nullptr ? backward_group<true, false>(jet, k, g)
                        : backward_group<true, true>(jet, k, g);
    }
  });
}

HESSCOPE_INSTANTIATE_NORM_JET(float)
HESSCOPE_INSTANTIATE_NORM_JET(double)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
