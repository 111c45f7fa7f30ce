#pragma once

#include <source_location>
#include <string>

#include "block.h"

namespace hesscope::emulation {

HESSCOPE_EMULATION_UNSEEN inline void open_barrier(Block& block) {
  Barrier& barrier = block.barrier;
  barrier.released_true = barrier.arrived_true;
  barrier.arrived = barrier.arrived_true = 0;
  ++barrier.generation;
  for (unsigned i = 0; i < block.num_threads; ++i) {
    if (block.threads[i].state == State::at_barrier) block.threads[i].state = State::ready;
  }
}

/// Returns how many threads of the block came with a true predicate.
HESSCOPE_EMULATION_UNSEEN inline unsigned meet_at_barrier(bool predicate, BarrierKind kind,
                                                          const std::source_location& where) {
  Block& block = block_of("__syncthreads");
  Barrier& barrier = block.barrier;
  char* edge = &barrier.edge[barrier.generation % 2];
  release(edge);
  {
    const Unwatched unwatched;
    if (block.alive != block.num_threads) {
      reject("__syncthreads after other threads of the block have returned", where);
    }
    if (barrier.arrived > 0 && (barrier.kind != kind || barrier.where.line() != where.line())) {
      reject(
          "divergent __syncthreads: other threads of the block wait at " + describe(barrier.where),
          where);
    }
    barrier.kind = kind;
    barrier.where = where;
    barrier.arrived_true += predicate ? 1 : 0;
    if (++barrier.arrived == block.num_threads) {
      open_barrier(block);
    } else {
      wait(block, State::at_barrier, where);
    }
  }
  acquire(edge);
  return barrier.released_true;
}

}  // namespace hesscope::emulation

inline void __syncthreads(std::source_location where = std::source_location::current()) {
  hesscope::emulation::meet_at_barrier(false, hesscope::emulation::BarrierKind::plain, where);
}

inline int __syncthreads_count(int predicate,
                               std::source_location where = std::source_location::current()) {
  return static_cast<int>(hesscope::emulation::meet_at_barrier(
      predicate != 0, hesscope::emulation::BarrierKind::count, where));
}

inline int __syncthreads_and(int predicate,
                             std::source_location where = std::source_location::current()) {
  return hesscope::emulation::meet_at_barrier(predicate == 0, hesscope::emulation::BarrierKind::all,
                                              where) == 0;
}

inline int __syncthreads_or(int predicate,
                            std::source_location where = std::source_location::current()) {
  return hesscope::emulation::meet_at_barrier(predicate != 0, hesscope::emulation::BarrierKind::any,
                                              where) != 0;
}
