#pragma once

#include "hesscope/types.h"

namespace hesscope {

/// Reductions over length n are cut into slabs of fixed width, summed slab by slab and then in slab
/// order. The cut depends on n alone: this is what makes every backend deterministic.
inline constexpr index_t kSlab = 4096;

constexpr index_t ceil_div(index_t a, index_t b) { return (a + b - 1) / b; }

/// At least 1, so that an empty sum is written as one empty slab.
constexpr index_t num_slabs(index_t n) { return n == 0 ? 1 : ceil_div(n, kSlab); }

/// Slabs that one thread takes at a time: several, so that it streams through contiguous memory;
/// fewer where there are few, so that threads have equal shares.
constexpr index_t slabs_per_task(index_t n) {
  return num_slabs(n) < 128 ? ceil_div(num_slabs(n), 8) : 16;
}
constexpr index_t num_slab_tasks(index_t n) { return ceil_div(num_slabs(n), slabs_per_task(n)); }

}  // namespace hesscope
