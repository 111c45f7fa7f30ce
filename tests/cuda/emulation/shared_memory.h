#pragma once

/// What HESSCOPE_SHARED and HESSCOPE_DYNAMIC_SHARED (backends/cuda/device/portable.cuh) expand to.
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "block.h"

namespace hesscope::emulation {

/// The block's array declared at `declaration`; its elements hold garbage at first, as on a device.
template <typename Array>
HESSCOPE_EMULATION_UNSEEN Array& shared_array(const void* declaration, const char* name) {
  using Element = std::remove_all_extents_t<Array>;
  static_assert(std::is_trivial_v<Element>, "shared memory is not constructed");
  static_assert(alignof(Element) <= 64);
  const Unwatched unwatched;
  return *static_cast<Array*>(block_of(name).shared->array(declaration, name, sizeof(Array)));
}

HESSCOPE_EMULATION_UNSEEN inline void* dynamic_shared_memory() {
  return block_of("dynamic shared memory").shared->dynamic();
}

/// A device traps on a misaligned access; a CPU may not.
inline void require_alignment(const void* address, std::size_t alignment,
                              std::source_location where = std::source_location::current()) {
  if (reinterpret_cast<std::uintptr_t>(address) % alignment != 0) {
    reject("a " + std::to_string(alignment) + "-byte access to a misaligned address", where);
  }
}

}  // namespace hesscope::emulation
