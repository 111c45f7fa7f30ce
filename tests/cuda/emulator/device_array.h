#pragma once

#include <cstddef>
#include <vector>

#include "backends/cuda/check.h"

namespace hesscope::cuda {

/// An array in device memory, filled with garbage or with the entries of a vector.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t size) : size_(size) {
    HESSCOPE_CUDA_CHECK(cudaMalloc(&data_, size * sizeof(T)));
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    HESSCOPE_CUDA_CHECK(
        cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { static_cast<void>(cudaFree(data_)); }

  T* data() { return data_; }

  std::vector<T> values() const {
    std::vector<T> copy(size_);
    HESSCOPE_CUDA_CHECK(cudaDeviceSynchronize());
    HESSCOPE_CUDA_CHECK(cudaMemcpy(copy.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return copy;
  }

 private:
  T* data_ = nullptr;
  std::size_t size_;
};

}  // namespace hesscope::cuda
