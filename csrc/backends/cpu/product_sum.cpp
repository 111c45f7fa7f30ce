#include "backends/cpu/lanes.h"
#include "backends/cpu/parallel.h"
#include "kernels/product_sum_kernels.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

constexpr int kWidth = 16, kVectors = 4;       // a strip: so many vectors of so many lanes
constexpr index_t kStrip = kWidth * kVectors;  // elements between two looks at the terms
constexpr index_t kStripsPerTask = 64;
constexpr index_t kSerialElements = index_t{1} << 15;

template <typename T>
using Rows = const T* const (&)[kMaxProductOperands];

/// out = the sum for kCount vectors of kLanes elements each, from element `first` of the rows.
template <int kCount, int kLanes, typename T>
inline void sum_vectors(const ProductSum<T>& sum, Rows<T> rows, index_t first, T* out) {
  using V = Lanes<T, kLanes>;
  V total[kCount] = {};
  for (int t = 0; t < sum.terms; ++t) {
    V product[kCount];
    for (int v = 0; v < kCount; ++v) product[v] = V{} + sum.scale[t];
    for (int j = 0; j < kMaxTermFactors && sum.factor[t][j] >= 0; ++j) {
      const int f = sum.factor[t][j];
      if (sum.operand[f].one_column) {
        const T factor = rows[f][0];
        for (int v = 0; v < kCount; ++v) product[v] *= factor;
        continue;
      }
      for (int v = 0; v < kCount; ++v) {
        V factor;
        load_lanes(factor, rows[f] + first + v * kLanes);
        product[v] *= factor;
      }
    }
    for (int v = 0; v < kCount; ++v) total[v] += product[v];
  }
  for (int v = 0; v < kCount; ++v) store_lanes(out + first + v * kLanes, total[v]);
}

/// The elements [first, end) of a row, fewer than a strip: ever shorter vectors.
template <int kLanes, typename T>
inline void sum_rest(const ProductSum<T>& sum, Rows<T> rows, index_t first, index_t end, T* out) {
  for (; first + kLanes <= end; first += kLanes) sum_vectors<1, kLanes>(sum, rows, first, out);
  if constexpr (kLanes > 1) {
    if (first < end) sum_rest<kLanes / 4>(sum, rows, first, end, out);
  }
}

}  // namespace

template <typename T>
void product_sum(const Context& ctx, const ProductSum<T>& sum, BatchView<T> out) {
  const index_t per_row = ceil_div(out.cols, kStrip), strips = out.batch * out.rows * per_row;
  const int threads = strips * kStrip < kSerialElements ? 1 : ctx.num_threads;
  cpu::parallel_for(threads, ceil_div(strips, kStripsPerTask), [&](index_t task) {
    const index_t end = (task + 1) * kStripsPerTask < strips ? (task + 1) * kStripsPerTask : strips;
    for (index_t strip = task * kStripsPerTask; strip < end;) {
      const index_t row = strip / per_row, a = row / out.rows, b = row % out.rows;
      const T* rows[kMaxProductOperands];
      for (int f = 0; f < sum.operands; ++f) rows[f] = sum.operand[f].row(a, b);
      const index_t row_end = (row + 1) * per_row < end ? (row + 1) * per_row : end;
      for (; strip < row_end; ++strip) {
        const index_t first = (strip - row * per_row) * kStrip;
        T* to = out.matrix(a).row(b);
        if (first + kStrip <= out.cols) {
          sum_vectors<kVectors, kWidth>(sum, rows, first, to);
        } else {
          sum_rest<kWidth>(sum, rows, first, out.cols, to);
        }
      }
    }
  });
}

HESSCOPE_INSTANTIATE_PRODUCT_SUM(float)
HESSCOPE_INSTANTIATE_PRODUCT_SUM(double)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
