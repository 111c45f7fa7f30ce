#pragma once

#include <cstdint>
#include <cstdio>
#include <exception>
#include <source_location>
#include <string>
#include <vector>

#include "fiber.h"
#include "qualifiers.h"
#include "shared_arena.h"

// The built-in variables. A fiber never changes its OS thread, and threadIdx is set at every
// switch.
inline constinit thread_local uint3 threadIdx{}, blockIdx{};
inline constinit thread_local dim3 blockDim{}, gridDim{};
inline constexpr int warpSize = 32;

namespace hesscope::emulation {

/// What every block of a launch runs: the kernel with its arguments, behind one pointer.
struct Launch {
  void (*run_thread)(const void* closure);
  const void* closure;
  dim3 grid, block;
  std::size_t dynamic_shared_bytes;
};

enum class State : std::uint8_t { unstarted, ready, at_barrier, in_warp_operation, done };

/// One CUDA thread.
struct Thread {
  State state = State::unstarted;
  unsigned rank = 0;  // in the block; lane and warp follow
  uint3 index{};
  Fiber* fiber = nullptr;
  std::source_location waits_at;
  bool fenced = false;          // has passed a __threadfence
  void* last_atomic = nullptr;  // where; see fence.h

  unsigned lane() const { return rank % kLanes; }
  unsigned warp() const { return rank / kLanes; }
};

enum class BarrierKind : std::uint8_t { plain, count, all, any };

/// A barrier of the whole block. Its two edges alternate by generation: with one, a fast thread's
/// arrival at the next barrier would order it before a slow thread's wake-up and hide a race.
struct Barrier {
  unsigned arrived = 0, arrived_true = 0;
  unsigned released_true = 0;  // of the last complete generation
  BarrierKind kind = BarrierKind::plain;
  std::source_location where;
  std::uint64_t generation = 0;
  char edge[2] = {};
};

enum class WarpOperation : std::uint8_t { shuffle, vote, reduce, synchronize };

/// A meeting of the lanes in `mask`. Values alternate by generation too: a fast lane may fill the
/// next table while slow ones still read this one.
struct Meeting {
  std::uint32_t mask = 0, arrived = 0;
  WarpOperation operation = WarpOperation::synchronize;
  std::source_location where;
  std::uint64_t generation = 0;
  std::uint64_t value[2][kLanes] = {};
  char edge[2] = {};
};

struct Warp {
  static constexpr int kMaxMeetings = 8;  // different masks in one block's life

  std::uint32_t existing = 0, alive = 0;  // lanes
  int num_meetings = 0;
  Meeting meeting[kMaxMeetings];
};

/// The block that runs on this OS thread.
struct Block {
  const Launch* launch = nullptr;
  Thread* threads = nullptr;  // [num_threads]
  Warp* warps = nullptr;      // [ceil(num_threads / 32)]
  unsigned* order = nullptr;  // [num_threads], in which the scheduler looks at them
  unsigned num_threads = 0, alive = 0;
  unsigned cursor = 0;  // into order
  Thread* running = nullptr;
  Flow scheduler;
  FiberPool* fibers = nullptr;
  SharedArena* shared = nullptr;
  Barrier barrier;
  std::exception_ptr error;
  char start_edge = 0, end_edge = 0;
};

inline constinit thread_local Block* current_block = nullptr;

/// Thrown through a waiting thread after another one failed, so that its destructors run.
struct Unwind {};

inline std::string describe(const std::source_location& where) {
  const std::string path = where.file_name();
  return path.substr(path.find_last_of('/') + 1) + ":" + std::to_string(where.line());
}

/// An error of the running thread.
[[noreturn]] inline void reject(const std::string& what, const std::source_location& where) {
  char who[128];
  std::snprintf(who, sizeof who, " [block (%u, %u, %u), thread (%u, %u, %u), ", blockIdx.x,
                blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
  throw Error(what + who + describe(where) + "]");
}

/// The block whose thread is running; `what` names the caller if there is none.
HESSCOPE_EMULATION_UNSEEN inline Block& block_of(const char* what) {
  if (current_block == nullptr) throw Error(std::string(what) + " outside a kernel");
  return *current_block;
}

/// Give the OS thread back to the scheduler until the running thread's state is `ready` again.
HESSCOPE_EMULATION_UNSEEN inline void wait(Block& block, State state,
                                           const std::source_location& where) {
  Thread& self = *block.running;
  self.state = state;
  self.waits_at = where;
  switch_flow(self.fiber->flow, block.scheduler);
  if (block.error) throw Unwind{};
}

}  // namespace hesscope::emulation
