#include <algorithm>

#include "backends/cpu/parallel.h"
#include "kernels/orthogonalize_kernels.h"
#include "kernels/workspace.h"
#include "math/accumulate.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {

// Slabs are handed out several at a time, so that a thread streams through contiguous memory.
constexpr index_t kSlabsPerTask = 16;

// A slab of w (16 KB in float32) stays in L1 while the k rows stream past it: q is read once, and
// once for all vectors of the batch where they share it.
template <typename Q, typename W>
void multi_dot(const Context& ctx, BatchView<const Q> q, MatrixView<const W> w,
               MatrixView<double> c) {
  const index_t n = q.cols, k = q.rows, slabs = num_slabs(n);
  auto workspace = ctx.workspace;
  double* partial = carve<double>(workspace, q.batch * k * slabs);  // [slabs, B, k]

  cpu::parallel_for(ctx.num_threads, ceil_div(slabs, kSlabsPerTask), [&](index_t task) {
    const index_t last = std::min((task + 1) * kSlabsPerTask, slabs);
    for (index_t s = task * kSlabsPerTask; s < last; ++s) {
      const index_t begin = s * kSlab, count = std::min(kSlab, n - begin);
      double* out = partial + s * q.batch * k;
      for (index_t b = 0; b < q.batch; ++b) {
        for (index_t j = 0; j < k; ++j) {
          out[b * k + j] = dot_range(q.matrix(b).row(j) + begin, w.row(b) + begin, count);
        }
      }
    }
  });

  for (index_t b = 0; b < q.batch; ++b) {
    for (index_t j = 0; j < k; ++j) {
      double sum = 0;
      for (index_t s = 0; s < slabs; ++s) sum += partial[(s * q.batch + b) * k + j];
      c.row(b)[j] = sum;
    }
  }
}

// A strip of float64 sums (4 KB) stays in L1 while the k rows stream past it: q and w move once.
template <typename Q, typename W>
void multi_axpy(const Context& ctx, BatchView<const Q> q, MatrixView<const double> c,
                MatrixView<W> w, double scale) {
  constexpr index_t kStrip = 512;
  const index_t n = q.cols, slabs = num_slabs(n);

  cpu::parallel_for(ctx.num_threads, ceil_div(slabs, kSlabsPerTask), [&](index_t task) {
    const index_t end = std::min((task + 1) * kSlabsPerTask * kSlab, n);
    double sum[kStrip];
    for (index_t begin = task * kSlabsPerTask * kSlab; begin < end; begin += kStrip) {
      const index_t count = std::min(kStrip, end - begin);
      for (index_t b = 0; b < q.batch; ++b) {
        std::fill_n(sum, count, 0.0);
        for (index_t j = 0; j < q.rows; ++j) {
          const Q* row = q.matrix(b).row(j) + begin;
          const double coefficient = c.row(b)[j];
          for (index_t i = 0; i < count; ++i) sum[i] = mul_add(row[i], coefficient, sum[i]);
        }
        W* target = w.row(b) + begin;
        for (index_t i = 0; i < count; ++i) {
          target[i] = static_cast<W>(mul_add(sum[i], scale, widen(target[i])));
        }
      }
    }
  });
}

HESSCOPE_FOR_EACH_BASIS_TYPE(HESSCOPE_INSTANTIATE_ORTHOGONALIZE)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
