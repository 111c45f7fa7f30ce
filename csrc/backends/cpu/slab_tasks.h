#pragma once

#include "backends/cpu/parallel.h"
#include "hesscope/context.h"
#include "kernels/slab.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {

/// How `rows` rows of n elements are handed to threads: a task is a run of slabs of one row.
struct SlabTasks {
  index_t rows, n;

  index_t slabs() const { return num_slabs(n); }
  index_t slabs_per_task() const { return hesscope::slabs_per_task(n); }
  index_t tasks_per_row() const { return num_slab_tasks(n); }
};

/// Below this much work waking a thread costs more than it saves.
inline constexpr index_t kSerialElements = index_t{1} << 15;

/// Calls f(row, first_slab, last_slab) for every task, last_slab not included. `elements` is the
/// number of elements that the call reads. Nothing f computes may depend on how slabs are grouped.
template <typename F>
void for_each_task(const Context& ctx, const SlabTasks& tasks, index_t elements, const F& f) {
  const int threads = elements < kSerialElements ? 1 : ctx.num_threads;
  const index_t slabs = tasks.slabs(), step = tasks.slabs_per_task(),
                per_row = tasks.tasks_per_row();
  cpu::parallel_for(threads, tasks.rows * per_row, [&](index_t task) {
    const index_t first = task % per_row * step;
    f(task / per_row, first, first + step < slabs ? first + step : slabs);
  });
}

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
