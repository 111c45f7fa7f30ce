#pragma once

#include <cstddef>
#include <span>

#include "hesscope/types.h"

namespace hesscope {

/// Where and how an op runs. The stream is a cudaStream_t, kept opaque so that host code needs no
/// CUDA header; ops order all their work on it. Ops neither allocate nor synchronise.
struct Context {
  Backend backend = Backend::cpu;
  Device device;
  void* stream = nullptr;
  std::span<std::byte> workspace;  // at least <op>_workspace_bytes(...), 16-byte aligned
  int num_threads = 1;             // of the CPU backend; results do not depend on it
};

}  // namespace hesscope
