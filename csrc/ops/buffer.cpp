#include "hesscope/buffer.h"

#include <cstring>
#include <new>
#include <utility>

#include "hesscope/error.h"
#include "kernels/buffer_kernels.h"

namespace hesscope {
namespace {

constexpr std::align_val_t kAlignment{kBufferAlignment};

bool on_gpu(Device device) { return device.type == DeviceType::cuda; }

}  // namespace

Device device_of(Backend backend) {
#if defined(HESSCOPE_CUDA_EMULATED)
  static_cast<void>(backend);
  return {};
#else
  return {.type = backend == Backend::cuda ? DeviceType::cuda : DeviceType::cpu, .index = 0};
#endif
}

void prefer_huge_pages(void* data, std::size_t bytes) { cpu::prefer_huge_pages(data, bytes); }

Buffer::Buffer(Device device, index_t bytes) : bytes_(bytes), device_(device) {
  HESSCOPE_CHECK(ShapeError, bytes >= 0, "Buffer: bytes must not be negative, got ", bytes);
  // At least one byte, so that data() is aligned and never null.
  const auto size = static_cast<std::size_t>(bytes > 0 ? bytes : 1);
  data_ = on_gpu(device) ? cuda::allocate(device, size) : ::operator new(size, kAlignment);
  if (!on_gpu(device)) prefer_huge_pages(data_, size);
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      device_(other.device_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    release();
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    device_ = other.device_;
  }
  return *this;
}

Buffer::~Buffer() { release(); }

void Buffer::release() noexcept {
  if (data_ == nullptr) return;
  if (on_gpu(device_)) {
    cuda::deallocate(device_, data_);
  } else {
    ::operator delete(data_, kAlignment);
  }
}

void copy_bytes(const Context& ctx, Device target_device, void* target, Device source_device,
                const void* source, index_t bytes) {
  if (bytes == 0) return;
  const auto size = static_cast<std::size_t>(bytes);
  if (!on_gpu(target_device) && !on_gpu(source_device)) {
    std::memcpy(target, source, size);
    return;
  }
  const bool wait = !on_gpu(target_device) || !on_gpu(source_device);
  const Device gpu = on_gpu(target_device) ? target_device : source_device;
  cuda::copy_bytes(gpu, target, source, size, ctx.stream, wait);
}

void synchronize(const Context& ctx) {
  if (on_gpu(ctx.device)) cuda::synchronize(ctx.device, ctx.stream);
}

}  // namespace hesscope
