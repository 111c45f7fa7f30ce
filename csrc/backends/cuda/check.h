#pragma once

#include "backends/cuda/device/portable.cuh"
#include "hesscope/error.h"

namespace hesscope::cuda {

/// Throws CudaError if a runtime call failed; `call` is its text.
inline void check_call(cudaError_t status, const char* call) {
  HESSCOPE_CHECK(CudaError, status == cudaSuccess, call, ": ", cudaGetErrorString(status));
}

}  // namespace hesscope::cuda

#define HESSCOPE_CUDA_CHECK(call) ::hesscope::cuda::check_call((call), #call)
