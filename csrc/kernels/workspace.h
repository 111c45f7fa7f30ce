#pragma once

#include <cassert>
#include <cstddef>
#include <span>

#include "hesscope/types.h"

namespace hesscope {

inline constexpr std::size_t kWorkspaceAlignment = 16;

constexpr index_t aligned_bytes(index_t bytes) { return (bytes + 15) / 16 * 16; }

/// Take `count` elements of T off the front of a workspace whose size the op has checked.
template <typename T>
T* carve(std::span<std::byte>& workspace, index_t count) {
  const auto bytes =
      static_cast<std::size_t>(aligned_bytes(count * static_cast<index_t>(sizeof(T))));
  assert(bytes <= workspace.size());
  T* taken = reinterpret_cast<T*>(workspace.data());
  workspace = workspace.subspan(bytes);
  return taken;
}

}  // namespace hesscope
