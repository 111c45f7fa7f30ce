#pragma once

#include <cstddef>

#include "hesscope/types.h"

/// Memory of GPUs, for Buffer. Only cuda and no_cuda define these: the host's is in ops/buffer.cpp.
namespace hesscope::cuda {

void* allocate(Device device, std::size_t bytes);
void deallocate(Device device, void* data) noexcept;

/// Either side may be on the host. Ordered on the stream; waits for it if `wait`.
void copy_bytes(Device device, void* target, const void* source, std::size_t bytes, void* stream,
                bool wait);
void synchronize(Device device, void* stream);

}  // namespace hesscope::cuda

namespace hesscope::cpu {

/// Advise the system to back memory with pages of 2 MB, where it is at least 32 MB.
void prefer_huge_pages(void* data, std::size_t bytes);

}  // namespace hesscope::cpu
