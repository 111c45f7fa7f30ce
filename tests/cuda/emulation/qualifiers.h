#pragma once

/// NVIDIA's vector types and runtime declarations, and the keywords of CUDA C++ for a host
/// compiler.
#include <vector_functions.h>  // declares the runtime too: runtime_api.h defines what kernels use of it
#include <vector_types.h>

#include <cmath>  // fmaf, sqrtf, ... in the global namespace, as in device code

#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __shared__
#undef __forceinline__
#undef __launch_bounds__
#undef __grid_constant__
#undef __noinline__  // libstdc++ uses this name for the attribute

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ use_HESSCOPE_SHARED_instead_of_the_keyword
