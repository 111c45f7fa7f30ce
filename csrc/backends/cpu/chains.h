#pragma once

#include "backends/cpu/lanes.h"
#include "hesscope/types.h"
#include "math/accumulate.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {

/// Half of the chains of a sum (math/accumulate.h): eight float64 side by side.
inline constexpr int kHalf = kChains / 2;
using Half = Lanes<double, kHalf>;

template <typename T>
inline void load_wide(Half& wide, const T* from) {
  Lanes<T, kHalf> narrow;
  load_lanes(narrow, from);
  wide = __builtin_convertvector(narrow, Half);
}

/// A float64 sum in kChains chains, filled 8 elements at a time: element i goes to chain i mod
/// kChains. The same bits as with a scalar loop over the chains.
struct ChainSum {
  Half part[2] = {};

  double total() const {
    double sum[kChains];
    store_lanes(sum, part[0]);
    store_lanes(sum + kHalf, part[1]);
    return add_chains(sum);
  }
};

/// The last elements of a row, followed by zeros, which add nothing to a sum of products.
template <typename T>
inline void load_tail(T (&to)[kChains], const T* from, index_t count) {
  for (index_t i = 0; i < kChains; ++i) to[i] = i < count ? from[i] : T(0);
}

/// Calls step(half, a, b) for eight elements of a and b at a time; `half` says which chains.
template <typename T, typename F>
inline void for_each_half(const T* a, const T* b, index_t count, const F& step) {
  Half x, y;
  index_t i = 0;
  for (; i + kChains <= count; i += kChains) {
    for (int half = 0; half < 2; ++half) {
      load_wide(x, a + i + half * kHalf);
      load_wide(y, b + i + half * kHalf);
      step(half, x, y);
    }
  }
  if (i == count) return;
  T a_tail[kChains], b_tail[kChains];
  load_tail(a_tail, a + i, count - i);
  load_tail(b_tail, b + i, count - i);
  for (int half = 0; half < 2; ++half) {
    load_wide(x, a_tail + half * kHalf);
    load_wide(y, b_tail + half * kHalf);
    step(half, x, y);
  }
}

/// dot += sum_i a[i] b[i].
template <typename T>
inline void add_dot(const T* a, const T* b, index_t count, ChainSum& dot) {
  for_each_half(a, b, count,
                [&](int half, const Half& x, const Half& y) { dot.part[half] += x * y; });
}

/// sum += sum_i a[i], dot += sum_i a[i] b[i].
template <typename T>
inline void add_sum_and_dot(const T* a, const T* b, index_t count, ChainSum& sum, ChainSum& dot) {
  for_each_half(a, b, count, [&](int half, const Half& x, const Half& y) {
    sum.part[half] += x;
    dot.part[half] += x * y;
  });
}

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
