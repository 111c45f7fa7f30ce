#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "block.h"

namespace hesscope::emulation {

/// What runs blocks, one at a time, kept from launch to launch.
struct Worker {
  Block block;
  FiberPool fibers;
  SharedArena shared;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<unsigned> order;
};

HESSCOPE_EMULATION_UNSEEN inline void run_kernel(Block& block) {
  acquire(&block.start_edge);
  try {
    block.launch->run_thread(block.launch->closure);
  } catch (const Unwind&) {
  } catch (...) {
    if (!block.error) block.error = std::current_exception();
  }
  release(&block.end_edge);
}

/// The running thread has returned from the kernel.
HESSCOPE_EMULATION_UNSEEN inline void finish_thread(Block& block) {
  const Unwatched unwatched;
  Thread& self = *block.running;
  self.state = State::done;
  --block.alive;
  block.warps[self.warp()].alive &= ~(1u << self.lane());
  if (block.barrier.arrived == 0 || block.error) return;
  try {
    reject("a thread returned while others of its block wait at __syncthreads",
           block.barrier.where);
  } catch (const Error&) {
    block.error = std::current_exception();
  }
}

HESSCOPE_EMULATION_UNSEEN inline void start_thread(Block& block, Thread& thread) {
  block.running = &thread;
  thread.state = State::ready;
  threadIdx = thread.index;
}

/// A fiber whose thread has returned takes the next thread itself if that one has not started: a
/// kernel without barriers then runs as a plain loop, without a switch.
HESSCOPE_EMULATION_UNSEEN inline bool take_next_thread(Block& block) {
  if (kFiberPerThread || block.error || block.cursor + 1 == block.num_threads) return false;
  Thread& next = block.threads[block.order[block.cursor + 1]];
  if (next.state != State::unstarted) return false;
  ++block.cursor;
  next.fiber = block.running->fiber;
  start_thread(block, next);
  return true;
}

HESSCOPE_EMULATION_UNSEEN inline void fiber_main() {
  Block& block = *current_block;
  arrive_first_time(block.scheduler);
  do {
    run_kernel(block);
    finish_thread(block);
  } while (take_next_thread(block));
  switch_flow(block.running->fiber->flow, block.scheduler, /*dying=*/true);
  std::terminate();  // nothing resumes a dead fiber
}

/// Run a thread until it waits or returns (then, perhaps, those after it in the order).
HESSCOPE_EMULATION_UNSEEN inline void resume(Block& block, Thread& thread) {
  if (thread.state == State::unstarted) {
    thread.fiber = block.fibers->take();
    thread.fiber->prepare(fiber_main);
  }
  Fiber* fiber = thread.fiber;
  start_thread(block, thread);
  switch_flow(block.scheduler, fiber->flow);
  if (!kFiberPerThread && block.running->state == State::done) block.fibers->put_back(fiber);
}

inline Error deadlock(const Block& block) {
  unsigned at_barrier = 0, in_warp = 0;
  std::string where;
  for (unsigned i = 0; i < block.num_threads; ++i) {
    const Thread& thread = block.threads[i];
    at_barrier += thread.state == State::at_barrier ? 1 : 0;
    in_warp += thread.state == State::in_warp_operation ? 1 : 0;
    if (thread.state != State::done) where = describe(thread.waits_at);
  }
  return Error("deadlock: " + std::to_string(at_barrier) +
               " threads of a block wait at "
               "__syncthreads and " +
               std::to_string(in_warp) + " in a warp operation, one of them at " + where);
}

inline void prepare_threads(Block& block, Worker& worker, Order order) {
  const dim3 shape = block.launch->block;
  for (unsigned i = 0; i < block.num_threads; ++i) {
    worker.order[i] = order == Order::reverse ? block.num_threads - 1 - i : i;
    Thread& thread = worker.threads[i];
    thread = Thread{};
    thread.rank = i;
    thread.index = {i % shape.x, i / shape.x % shape.y, i / (shape.x * shape.y)};
  }
  for (unsigned first = 0; first < block.num_threads; first += kLanes) {
    const unsigned lanes = std::min(kLanes, block.num_threads - first);
    Warp& warp = worker.warps[first / kLanes];
    warp.existing = warp.alive = lanes == kLanes ? ~0u : (1u << lanes) - 1;
    for (int i = 0; i < warp.num_meetings; ++i) warp.meeting[i].arrived = 0;
    warp.num_meetings = 0;
  }
}

/// Let threads take turns until all have returned or one has failed.
inline void schedule(Block& block, const Options& options, std::uint64_t random) {
  while (block.alive > 0 && !block.error) {
    if (options.order == Order::random) {
      for (unsigned i = block.num_threads; i > 1; --i) {
        random = mix(random);
        std::swap(block.order[i - 1], block.order[random % i]);
      }
    }
    bool progress = false;
    for (block.cursor = 0; block.cursor < block.num_threads && !block.error; ++block.cursor) {
      Thread& thread = block.threads[block.order[block.cursor]];
      if (thread.state != State::unstarted && thread.state != State::ready) continue;
      progress = true;
      resume(block, thread);
    }
    if (!progress && !block.error) block.error = std::make_exception_ptr(deadlock(block));
  }
}

/// Resume what still waits, to be unwound; what never started just goes.
inline void unwind(Block& block) {
  for (unsigned i = 0; i < block.num_threads; ++i) {
    Thread& thread = block.threads[i];
    if (thread.state == State::unstarted || thread.state == State::done) continue;
    resume(block, thread);
  }
}

inline void prepare_block(Worker& worker, const Launch& launch, const Options& options) {
  Block& block = worker.block = Block{};
  block.launch = &launch;
  block.num_threads = block.alive = launch.block.x * launch.block.y * launch.block.z;
  if (worker.threads.size() < block.num_threads) {
    worker.threads.resize(block.num_threads);
    worker.warps.resize((block.num_threads + kLanes - 1) / kLanes);
    worker.order.resize(block.num_threads);
  }
  block.threads = worker.threads.data();
  block.warps = worker.warps.data();
  block.order = worker.order.data();
  block.fibers = &worker.fibers;
  block.shared = &worker.shared;
#if defined(HESSCOPE_EMULATION_TSAN)
  block.scheduler.sanitizer_fiber = __tsan_get_current_fiber();
#endif
  worker.shared.begin_block(launch.dynamic_shared_bytes);
  prepare_threads(block, worker, options.order);
}

/// Run one block on this OS thread. Throws what a thread of it threw.
inline void run_block(Worker& worker, const Launch& launch, uint3 index, const Options& options) {
  const Unwatched unwatched;
  prepare_block(worker, launch, options);
  Block& block = worker.block;
  blockIdx = index;
  blockDim = launch.block;
  gridDim = launch.grid;
  const std::uint64_t position =
      index.x + launch.grid.x * (index.y + static_cast<std::uint64_t>(launch.grid.y) * index.z);
  release(&block.start_edge);
  current_block = &block;
  schedule(block, options, mix(options.seed ^ mix(position)));
  if (block.error) unwind(block);
  current_block = nullptr;
  acquire(&block.end_edge);
  if (kFiberPerThread) {
    for (unsigned i = 0; i < block.num_threads; ++i) {
      if (block.threads[i].fiber != nullptr) worker.fibers.put_back(block.threads[i].fiber);
    }
  }
  if (block.error) std::rethrow_exception(block.error);
  worker.shared.check_guards();
}

}  // namespace hesscope::emulation
