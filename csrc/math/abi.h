#pragma once

/// Formulas are host-device inline functions. The CPU backend is compiled for several instruction
/// sets; an inline namespace per set keeps the linker from giving one set's code to another.
#ifndef HESSCOPE_MATH_ABI
#define HESSCOPE_MATH_ABI math_baseline
#endif

#if defined(__CUDACC__)
#define HESSCOPE_HD __host__ __device__ inline
#else
#define HESSCOPE_HD inline
#endif
