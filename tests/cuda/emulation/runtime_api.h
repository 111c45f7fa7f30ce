#pragma once

/// The few calls of the CUDA runtime that the project makes, on host memory. NVIDIA's own
/// declarations hold; these definitions are hidden, so that an extension never meets a real runtime
/// that torch loaded into the same process.
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#include "options.h"
#include "qualifiers.h"

#define HESSCOPE_EMULATION_API extern "C" __attribute__((weak, visibility("hidden")))

HESSCOPE_EMULATION_API const char* cudaGetErrorString(cudaError_t status) {
  switch (status) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    default:
      return "error";
  }
}

/// Errors of kernels are exceptions here; nothing is left behind to be asked for.
HESSCOPE_EMULATION_API cudaError_t cudaGetLastError() { return cudaSuccess; }
HESSCOPE_EMULATION_API cudaError_t cudaPeekAtLastError() { return cudaSuccess; }

HESSCOPE_EMULATION_API cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
HESSCOPE_EMULATION_API cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
HESSCOPE_EMULATION_API cudaError_t cudaSetDevice(int device) {
  return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}
HESSCOPE_EMULATION_API cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }

HESSCOPE_EMULATION_API cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = reinterpret_cast<cudaStream_t>(new (std::nothrow) char);
  return *stream == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
HESSCOPE_EMULATION_API cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete reinterpret_cast<char*>(stream);
  return cudaSuccess;
}
HESSCOPE_EMULATION_API cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

HESSCOPE_EMULATION_API cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  if (posix_memalign(memory, 256, bytes == 0 ? 1 : bytes) != 0) return cudaErrorMemoryAllocation;
  std::memset(*memory, hesscope::emulation::kPoison, bytes);  // fresh device memory holds garbage
  return cudaSuccess;
}
HESSCOPE_EMULATION_API cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
HESSCOPE_EMULATION_API cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t) {
  return cudaMalloc(memory, bytes);
}
HESSCOPE_EMULATION_API cudaError_t cudaFreeAsync(void* memory, cudaStream_t) {
  return cudaFree(memory);
}

HESSCOPE_EMULATION_API cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes,
                                              cudaMemcpyKind) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}
HESSCOPE_EMULATION_API cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes,
                                                   cudaMemcpyKind kind, cudaStream_t) {
  return cudaMemcpy(to, from, bytes, kind);
}
HESSCOPE_EMULATION_API cudaError_t cudaMemset(void* to, int byte, std::size_t bytes) {
  if (bytes > 0) std::memset(to, byte, bytes);
  return cudaSuccess;
}
HESSCOPE_EMULATION_API cudaError_t cudaMemsetAsync(void* to, int byte, std::size_t bytes,
                                                   cudaStream_t) {
  return cudaMemset(to, byte, bytes);
}

#undef HESSCOPE_EMULATION_API

template <typename T>
inline cudaError_t cudaMalloc(T** memory, std::size_t bytes) {
  return cudaMalloc(reinterpret_cast<void**>(memory), bytes);
}
