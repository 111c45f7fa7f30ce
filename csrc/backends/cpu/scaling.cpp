#include "backends/cpu/parallel.h"
#include "kernels/scaling_kernels.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {

// Slabs are handed out several at a time, so that a thread streams through contiguous memory; a
// slab of d stays in L1 for all rows.
template <typename T>
void scale_columns(const Context& ctx, VectorView<const T> d, MatrixView<const T> x,
                   MatrixView<T> y) {
  constexpr index_t kSlabsPerTask = 16;
  const index_t n = x.cols, slabs = num_slabs(n);
  cpu::parallel_for(ctx.num_threads, ceil_div(slabs, kSlabsPerTask), [&](index_t task) {
    const index_t last = (task + 1) * kSlabsPerTask < slabs ? (task + 1) * kSlabsPerTask : slabs;
    for (index_t s = task * kSlabsPerTask; s < last; ++s) {
      const index_t begin = s * kSlab, count = kSlab < n - begin ? kSlab : n - begin;
      const T* scale = d.data + begin;
      for (index_t r = 0; r < x.rows; ++r) {
        const T* from = x.row(r) + begin;
        T* to = y.row(r) + begin;
        for (index_t i = 0; i < count; ++i) to[i] = scale[i] * from[i];
      }
    }
  });
}

HESSCOPE_INSTANTIATE_SCALING(float)
HESSCOPE_INSTANTIATE_SCALING(double)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
