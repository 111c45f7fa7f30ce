#pragma once

#include <cstddef>
#include <span>

#include "hesscope/context.h"

namespace hesscope {

inline constexpr std::size_t kBufferAlignment = 128;

/// Where the data of a backend lives: the first GPU for cuda, the CPU for the others and for an
/// emulated cuda.
Device device_of(Backend backend);

/// Ask the system to back memory of the host with pages of 2 MB, from now on: what streams through
/// gigabytes then waits less often for addresses, and for fresh pages. Advice: nothing happens
/// where there is less than 32 MB, or no such pages.
void prefer_huge_pages(void* data, std::size_t bytes);

/// Uninitialised memory of one device, aligned to kBufferAlignment. Owns it; moves, never copies.
///
/// For C++ programs that have no tensors of their own: ops borrow memory and know no Buffer.
/// Throws ShapeError for a negative size, std::bad_alloc or CudaError when there is not enough,
/// NotCompiled for a GPU in a build without CUDA.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device device, index_t bytes);
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  void* data() const { return data_; }
  index_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  std::span<std::byte> span() const {
    return {static_cast<std::byte*>(data_), static_cast<std::size_t>(bytes_)};
  }

 private:
  void release() noexcept;

  void* data_ = nullptr;
  index_t bytes_ = 0;
  Device device_;
};

/// Copy bytes between any two devices, ordered on the context's stream; returns when a host side
/// is involved and the bytes have arrived, else at once.
void copy_bytes(const Context& ctx, Device target_device, void* target, Device source_device,
                const void* source, index_t bytes);

/// Wait for everything on the context's stream.
void synchronize(const Context& ctx);

}  // namespace hesscope
