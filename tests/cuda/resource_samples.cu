/// Kernels for the test of resources.py: one spills on purpose, one has wide loads, one has narrow
/// ones.
#include "backends/cuda/device/vector_load.cuh"

namespace hesscope::cuda {

constexpr int kLive = 64;

/// 64 doubles alive at once in 32 registers a thread: 2048 threads a multiprocessor leave no more.
__global__ void __launch_bounds__(1024, 2)
    spilling_kernel(const double* x,  // [64, gridDim * blockDim]
                    double* y         // [gridDim * blockDim]
    ) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x, stride = gridDim.x * blockDim.x;
  double value[kLive];
#pragma unroll
  for (int j = 0; j < kLive; ++j) value[j] = x[i + static_cast<unsigned>(j) * stride];
#pragma unroll
  for (int round = 0; round < 3; ++round) {
#pragma unroll
    for (int j = 0; j < kLive; ++j)
      value[j] = value[j] * value[(j + 7) % kLive] + value[(j + 31) % kLive];
  }
  double sum = 0;
#pragma unroll
  for (int j = 0; j < kLive; ++j) sum += value[j];
  y[i] = sum;
}

template <typename T>
__global__ void __launch_bounds__(128) wide_kernel(const T* x, T* y) {
  const unsigned i = (blockIdx.x * blockDim.x + threadIdx.x) * kVectorWidth<T>;
  store_vector(y + i, load_vector(x + i));
}

template <typename T>
__global__ void narrow_kernel(const T* x, T* y) {
  HESSCOPE_SHARED(T, tile, 256);
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = tile[255 - threadIdx.x];
}

template __global__ void wide_kernel<float>(const float*, float*);
template __global__ void wide_kernel<double>(const double*, double*);
template __global__ void narrow_kernel<float>(const float*, float*);

}  // namespace hesscope::cuda
