#include "backends/cpu/lanes.h"
#include "backends/cpu/parallel.h"
#include "kernels/product_sum_kernels.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

constexpr int kWidth = 16, kVectors = 4;       // a strip: so many vectors of so many lanes
constexpr index_t kStrip = kWidth * kVectors;  // elements between two looks at the terms
constexpr index_t kStripsPerTask = 64;
constexpr index_t kSerialElements = index_t{1} << 15;

/// The strip of an operand, `count` elements of it.
template <typename T>
void load_strip(const T* row, bool one_column, index_t first, index_t count,
                Lanes<T, kWidth> (&to)[kVectors]) {
  if (one_column) {
    for (int v = 0; v < kVectors; ++v) to[v] = Lanes<T, kWidth>{} + row[0];
  } else if (count == kStrip) {
    for (int v = 0; v < kVectors; ++v) load_lanes(to[v], row + first + v * kWidth);
  } else {
    T part[kStrip] = {};
    for (index_t i = 0; i < count; ++i) part[i] = row[first + i];
    for (int v = 0; v < kVectors; ++v) load_lanes(to[v], part + v * kWidth);
  }
}

template <typename T>
void sum_strip(const ProductSum<T>& sum, const T* const (&rows)[kMaxProductOperands], index_t first,
               index_t count, T* out) {
  using V = Lanes<T, kWidth>;
  V total[kVectors] = {};
  for (int t = 0; t < sum.terms; ++t) {
    V product[kVectors];
    for (int v = 0; v < kVectors; ++v) product[v] = V{} + sum.scale[t];
    for (int j = 0; j < kMaxTermFactors && sum.factor[t][j] >= 0; ++j) {
      const int f = sum.factor[t][j];
      V factor[kVectors];
      load_strip(rows[f], sum.operand[f].one_column, first, count, factor);
      for (int v = 0; v < kVectors; ++v) product[v] *= factor[v];
    }
    for (int v = 0; v < kVectors; ++v) total[v] += product[v];
  }
  if (count == kStrip) {
    for (int v = 0; v < kVectors; ++v) store_lanes(out + first + v * kWidth, total[v]);
  } else {
    T part[kStrip];
    for (int v = 0; v < kVectors; ++v) store_lanes(part + v * kWidth, total[v]);
    for (index_t i = 0; i < count; ++i) out[first + i] = part[i];
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
      for (int f = 0; f < kMaxProductOperands; ++f) rows[f] = sum.operand[f].row(a, b);
      const index_t row_end = (row + 1) * per_row < end ? (row + 1) * per_row : end;
      for (; strip < row_end; ++strip) {
        const index_t first = (strip - row * per_row) * kStrip;
        const index_t count = first + kStrip < out.cols ? kStrip : out.cols - first;
        sum_strip(sum, rows, first, count, out.matrix(a).row(b));
      }
    }
  });
}

HESSCOPE_INSTANTIATE_PRODUCT_SUM(float)
HESSCOPE_INSTANTIATE_PRODUCT_SUM(double)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
