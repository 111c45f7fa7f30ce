#include "backends/cuda/launch.h"
#include "kernels/buffer_kernels.h"

namespace hesscope::cuda {

void* allocate(Device device, std::size_t bytes) {
  const ScopedDevice scope(device);
  void* data = nullptr;
  HESSCOPE_CUDA_CHECK(cudaMalloc(&data, bytes));
  return data;
}

void deallocate(Device device, void* data) noexcept {
  try {
    const ScopedDevice scope(device);
    static_cast<void>(cudaFree(data));
  } catch (const Error&) {
    // The device is gone, and its memory with it: a destructor cannot report.
  }
}

void copy_bytes(Device device, void* target, const void* source, std::size_t bytes, void* stream,
                bool wait) {
  const ScopedDevice scope(device);
  const auto on = static_cast<cudaStream_t>(stream);
  HESSCOPE_CUDA_CHECK(cudaMemcpyAsync(target, source, bytes, cudaMemcpyDefault, on));
  if (wait) HESSCOPE_CUDA_CHECK(cudaStreamSynchronize(on));
}

void synchronize(Device device, void* stream) {
  const ScopedDevice scope(device);
  HESSCOPE_CUDA_CHECK(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)));
}

}  // namespace hesscope::cuda
