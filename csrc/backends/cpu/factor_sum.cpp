#include "math/factor_sum.h"

#include "backends/cpu/lanes.h"
#include "backends/cpu/parallel.h"
#include "kernels/factor_sum_kernels.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

constexpr index_t kBlock = 512;             // of a row: factors stay in L1 for all probes
constexpr index_t kTaskElements = 1 << 15;  // less is not worth a thread

/// Elements begin, ..., of a row; those of a broadcast row are written out into `room`.
template <typename T>
const T* block_of(const Grid4<const T>& grid, const T* row, index_t begin, index_t count,
                  T* room  // [kBlock]
) {
  if (grid.stride[3] != 0) return row + begin;
  for (index_t i = 0; i < count; ++i) room[i] = row[0];
  return room;
}

/// Elements i, ..., of a block, W side by side. All are read before the first is written: out may
/// be a tangent.
template <int W, int kCount, typename T>
inline void sum_lanes(const T* const (&factor)[kCount], const T* const (&tangent)[kCount], T scale,
                      bool add, index_t i, T* out) {
  Lanes<T, W> f[kCount], t[kCount], value = {};
  for (int j = 0; j < kCount; ++j) {
    load_lanes(f[j], factor[j] + i);
    load_lanes(t[j], tangent[j] + i);
  }
  if (add) load_lanes(value, out + i);
  factor_sum_element<kCount>(f, t, scale, add, value);
  store_lanes(out + i, value);
}

template <int kCount, bool kAdd, typename T>
void block_sum(const T* const (&factor)[kCount], const T* const (&tangent)[kCount], T scale,
               index_t count, T* out) {
  constexpr int kWidth = 64 / static_cast<int>(sizeof(T));
  index_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    sum_lanes<kWidth>(factor, tangent, scale, kAdd, i, out);
  }
  for (; i < count; ++i) sum_lanes<1>(factor, tangent, scale, kAdd, i, out);
}

/// One block of one row of every probe.
template <int kCount, typename T>
void sum_block(const FactorSum<T>& s, index_t a, index_t b, index_t begin) {
  const index_t left = s.shape[3] - begin, count = left < kBlock ? left : kBlock;
  T factor_room[kCount][kBlock], tangent_room[kCount][kBlock];
  const T *factor[kCount], *tangent[kCount];
  for (int j = 0; j < kCount; ++j) {
    factor[j] = block_of(s.factor[j], s.factor[j].row(0, a, b), begin, count, factor_room[j]);
  }
  for (index_t k = 0; k < s.shape[0]; ++k) {
    for (int j = 0; j < kCount; ++j) {
      tangent[j] = block_of(s.tangent[j], s.tangent[j].row(k, a, b), begin, count, tangent_room[j]);
    }
    T* out = s.out.row(k, a, b) + begin;
    if (s.add) {
      block_sum<kCount, true>(factor, tangent, s.scale, count, out);
    } else {
      block_sum<kCount, false>(factor, tangent, s.scale, count, out);
    }
  }
}

template <int kCount, typename T>
void sum(const Context& ctx, const FactorSum<T>& s) {
  const index_t blocks = ceil_div(s.shape[3], kBlock), units = s.rows() * blocks;
  const index_t per_unit = s.shape[0] * (s.shape[3] < kBlock ? s.shape[3] : kBlock);
  const index_t step = ceil_div(kTaskElements, per_unit);
  cpu::parallel_for(ctx.num_threads, ceil_div(units, step), [&](index_t task) {
    const index_t last = (task + 1) * step < units ? (task + 1) * step : units;
    for (index_t unit = task * step; unit < last; ++unit) {
      const index_t row = unit / blocks;
      sum_block<kCount>(s, row / s.shape[2], row % s.shape[2], unit % blocks * kBlock);
    }
  });
}

}  // namespace

template <typename T>
void factor_sum(const Context& ctx, const FactorSum<T>& s) {
  switch (s.count) {
    case 1:
      return sum<1>(ctx, s);
    case 2:
      return sum<2>(ctx, s);
    default:
      return sum<3>(ctx, s);
  }
}

HESSCOPE_INSTANTIATE_FACTOR_SUM(float)
HESSCOPE_INSTANTIATE_FACTOR_SUM(double)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
