#include "math/softmax_jet.h"

#include <cmath>

#include "backends/cpu/chains.h"
#include "backends/cpu/parallel.h"
#include "kernels/softmax_jet_kernels.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

constexpr index_t kTaskElements = 1 << 14;  // less is not worth a thread

template <typename T>
constexpr int kWidth = 64 / static_cast<int>(sizeof(T));  // elements side by side

/// Calls f(row) for every row, in tasks whose size depends on the shape alone.
template <typename F>
void for_each_row(const Context& ctx, index_t rows, index_t cols, const F& f) {
  const index_t step = ceil_div(kTaskElements, cols);
  cpu::parallel_for(ctx.num_threads, ceil_div(rows, step), [&](index_t task) {
    const index_t last = (task + 1) * step < rows ? (task + 1) * step : rows;
    for (index_t row = task * step; row < last; ++row) f(row);
  });
}

/// Calls f<W>(i) for every i = 0, W, 2 W, ... and the rest one by one.
template <typename T, typename F>
inline void for_each_lanes(index_t cols, const F& f) {
  index_t i = 0;
  for (; i + kWidth<T> <= cols; i += kWidth<T>) f.template operator()<kWidth<T>>(i);
  for (; i < cols; ++i) f.template operator()<1>(i);
}

/// sum_i p[i] (a[i] - a_mean) (b[i] - b_mean + (a[i] - a_mean)^2 / 6), the mean of softmax_third.
template <typename T>
double third_moment(const T* p, const T* a, double a_mean, const T* b, double b_mean,
                    index_t count) {
  double sum[kChains] = {};
  const auto add = [&](int lane, index_t i) {
    double part;
    softmax_third(widen(a[i]) - a_mean, widen(b[i]) - b_mean, part);
    sum[lane] += widen(p[i]) * part;
  };
  index_t i = 0;
  for (; i + kChains <= count; i += kChains) {
    for (int lane = 0; lane < kChains; ++lane) add(lane, i + lane);
  }
  for (int lane = 0; i + lane < count; ++lane) add(lane, i + lane);
  return add_chains(sum);
}

template <int kOrder, typename T>
void moments_of(const T* const (&x)[kOrder], const T* p, index_t cols,
                SoftmaxMoments<kOrder, T>& found) {
  double mean[kOrder];
  for (int k = 0; k < kOrder; ++k) {
    ChainSum dot;
    add_dot(p, x[k], cols, dot);
    mean[k] = dot.total();
    found.mean[k] = static_cast<T>(mean[k]);
  }
  if constexpr (kOrder >= 2) {
    ChainSum sum;
    for_each_half(p, x[0], cols, [&](int half, const Half& weight, const Half& value) {
      Half part;
      softmax_second<Half>(value - mean[0], part);
      sum.part[half] += weight * part;
    });
    found.sum[0] = static_cast<T>(sum.total());
  }
  if constexpr (kOrder >= 3) {
    found.sum[1] = static_cast<T>(third_moment(p, x[0], mean[0], x[1], mean[1], cols));
  }
}

template <int kOrder, bool kLogarithm, typename T>
void softmax_row(const SoftmaxJet<T>& jet, index_t k, index_t b) {
  const index_t at = (k * jet.rows + b) * jet.cols;
  const T *x[kOrder], *p = jet.p + b * jet.cols;
  T* out[kOrder];
  for (int j = 0; j < kOrder; ++j) {
    x[j] = jet.x[j] + at;
    out[j] = jet.out[j] + at;
  }
  SoftmaxMoments<kOrder, T> m;
  moments_of<kOrder>(x, p, jet.cols, m);
  const T w = jet.w == nullptr ? T(1) : jet.w[b];
  for_each_lanes<T>(jet.cols, [&]<int W>(index_t i) {
    Lanes<T, W> in[kOrder], value, found[kOrder];
    for (int j = 0; j < kOrder; ++j) load_lanes(in[j], x[j] + i);
    load_lanes(value, p + i);
    softmax_element<kOrder, kLogarithm>(in, value, w, m, found);
    for (int j = 0; j < kOrder; ++j) store_lanes(out[j] + i, found[j]);
  });
}

template <bool kG, bool kP, typename T>
void backward_row(const SoftmaxJetBackward<T>& jet, index_t k, index_t b) {
  const index_t at = (k * jet.rows + b) * jet.cols;
  const T *dg = kG ? jet.dg + at : nullptr, *dp = kP ? jet.dp + at : nullptr;
  const T *g = jet.g + b * jet.cols, *p = jet.p + b * jet.cols;
  ChainSum dot;
  if constexpr (kG) add_dot(p, dg, jet.cols, dot);
  if constexpr (kP) add_dot(g, dp, jet.cols, dot);
  const T along = jet.along[b], along_d = static_cast<T>(dot.total());
  for_each_lanes<T>(jet.cols, [&]<int W>(index_t i) {
    Lanes<T, W> dg_i = {}, dp_i = {}, g_i, p_i, found;
    if constexpr (kG) load_lanes(dg_i, dg + i);
    if constexpr (kP) load_lanes(dp_i, dp + i);
    load_lanes(g_i, g + i);
    load_lanes(p_i, p + i);
    softmax_backward_element(dg_i, dp_i, g_i, p_i, along, along_d, found);
    store_lanes(jet.out + at + i, found);
  });
}

template <int kOrder, typename T>
void jet_of_order(const Context& ctx, const SoftmaxJet<T>& jet) {
  for_each_row(ctx, jet.rows * jet.probes, jet.cols, [&](index_t row) {
    const index_t k = row % jet.probes, b = row / jet.probes;  // p stays in cache for all probes
    jet.logarithm ? softmax_row<kOrder, true>(jet, k, b) : softmax_row<kOrder, false>(jet, k, b);
  });
}

}  // namespace

template <typename T>
void softmax(const Context& ctx, MatrixView<const T> x, MatrixView<T> p, MatrixView<T> log_sum) {
  for_each_row(ctx, x.rows, x.cols, [&](index_t b) {
    const T* row = x.row(b);
    double largest = row[0], sum = 0;
    for (index_t c = 1; c < x.cols; ++c) largest = row[c] > largest ? row[c] : largest;
    for (index_t c = 0; c < x.cols; ++c) sum += exp(row[c] - largest);
    for (index_t c = 0; c < x.cols; ++c) p.row(b)[c] = static_cast<T>(exp(row[c] - largest) / sum);
    log_sum.row(b)[0] = static_cast<T>(largest + log(sum));
  });
}

// A row at a time: its second and third pass come from cache.
template <typename T>
void softmax_jet(const Context& ctx, const SoftmaxJet<T>& jet) {
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
  for_each_row(ctx, jet.rows * jet.probes, jet.cols, [&](index_t row) {
    const index_t k = row % jet.probes, b = row / jet.probes;
    if (jet.dg == nullptr) return backward_row<false, true>(jet, k, b);
    jet.dp == nullptr ? backward_row<true, false>(jet, k, b) : backward_row<true, true>(jet, k, b);
  });
}

HESSCOPE_INSTANTIATE_SOFTMAX_JET(float)
HESSCOPE_INSTANTIATE_SOFTMAX_JET(double)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
