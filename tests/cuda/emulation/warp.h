#pragma once

#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "block.h"

namespace hesscope::emulation {

/// What the lanes of a meeting brought: `value[lane]` for the lanes in `mask`.
struct Exchange {
  const std::uint64_t* value;  // [kLanes]
  std::uint32_t mask;
};

/// The meeting of exactly the lanes in `mask`, after checking that the caller may join it.
HESSCOPE_EMULATION_UNSEEN inline Meeting& meeting_of(Warp& warp, std::uint32_t mask, unsigned lane,
                                                     const std::source_location& where) {
  if ((mask >> lane & 1) == 0) reject("warp operation whose mask lacks the calling lane", where);
  if ((mask & ~warp.alive) != 0) {
    reject("warp operation whose mask names a lane that has returned or never existed", where);
  }
  Meeting* found = nullptr;
  for (int i = 0; i < warp.num_meetings; ++i) {
    Meeting& meeting = warp.meeting[i];
    if (meeting.mask == mask) {
      found = &meeting;
    } else if (meeting.arrived != 0 && (meeting.mask & mask) != 0) {
      reject(
          "warp operation whose mask overlaps that of lanes waiting at " + describe(meeting.where),
          where);
    }
  }
  if (found == nullptr) {
    if (warp.num_meetings == Warp::kMaxMeetings) reject("more than 8 masks in one warp", where);
    found = &warp.meeting[warp.num_meetings++];
    found->mask = mask;
  }
  return *found;
}

HESSCOPE_EMULATION_UNSEEN inline void wake_lanes(Block& block, unsigned warp, std::uint32_t mask) {
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    Thread& thread = block.threads[warp * kLanes + lane];
    if (thread.state == State::in_warp_operation) thread.state = State::ready;
  }
}

/// Wait for all lanes in `mask`, each bringing a value. Only __syncwarp orders memory.
HESSCOPE_EMULATION_UNSEEN inline Exchange meet_in_warp(std::uint32_t mask, WarpOperation operation,
                                                       std::uint64_t value,
                                                       const std::source_location& where) {
  Block& block = block_of("warp operation");
  const Unwatched unwatched;
  const Thread& self = *block.running;
  Warp& warp = block.warps[self.warp()];
  if (mask == ~0u) mask = warp.existing;  // the lanes that a ragged last warp lacks take no part
  Meeting& meeting = meeting_of(warp, mask, self.lane(), where);
  if (meeting.arrived != 0 &&
      (meeting.operation != operation || meeting.where.line() != where.line())) {
    reject("divergent warp operation: other lanes wait at " + describe(meeting.where), where);
  }
  const std::uint64_t generation = meeting.generation % 2;
  const bool orders_memory = operation == WarpOperation::synchronize;
  if (orders_memory) release(&meeting.edge[generation]);
  meeting.operation = operation;
  meeting.where = where;
  meeting.value[generation][self.lane()] = value;
  meeting.arrived |= 1u << self.lane();
  if (meeting.arrived == mask) {
    meeting.arrived = 0;
    ++meeting.generation;
    wake_lanes(block, self.warp(), mask);
  } else {
    wait(block, State::in_warp_operation, where);
  }
  if (orders_memory) acquire(&meeting.edge[generation]);
  return {meeting.value[generation], mask};
}

template <typename T>
inline std::uint64_t pack(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>, "shuffles move at most 8 bytes");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

template <typename T>
HESSCOPE_EMULATION_UNSEEN inline T unpack(std::uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// The lane's own number and the first lane of its segment of `width` lanes.
HESSCOPE_EMULATION_UNSEEN inline int own_lane() {
  return static_cast<int>(block_of("warp operation").running->lane());
}

/// The value that lane `source` of the warp brought.
template <typename T>
inline T shuffle(unsigned mask, T value, int source, const std::source_location& where) {
  const Exchange exchange = meet_in_warp(mask, WarpOperation::shuffle, pack(value), where);
  if ((exchange.mask >> source & 1) == 0) {
    reject("shuffle from a lane outside the mask", where);
  }
  return unpack<T>(exchange.value[source]);
}

/// All values of the mask folded in lane order.
template <typename T, typename Fold>
inline T reduce(unsigned mask, T value, Fold fold, const std::source_location& where) {
  static_assert(std::is_integral_v<T> && sizeof(T) == 4, "__reduce_*_sync takes 32-bit integers");
  const Exchange exchange = meet_in_warp(mask, WarpOperation::reduce, pack(value), where);
  bool first = true;
  T folded{};
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    if ((exchange.mask >> lane & 1) == 0) continue;
    const T other = unpack<T>(exchange.value[lane]);
    folded = first ? other : fold(folded, other);
    first = false;
  }
  return folded;
}

}  // namespace hesscope::emulation
