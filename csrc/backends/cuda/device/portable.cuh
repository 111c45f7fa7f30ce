#pragma once

/// One source, two compilers: nvcc makes device code; a host compiler, given the folder of the
/// project's emulator (tests/cuda/emulation) as an include folder, makes code that runs on the CPU.
///
///   HESSCOPE_SHARED(type, name, extent)   static shared memory, an array `type name[extent]`. A
///   type
///                                         with a comma, or a row of a 2-D tile, needs an alias
///                                         first:
///                                           using Row = double[33]; HESSCOPE_SHARED(Row, tile,
///                                           32);
///   HESSCOPE_DYNAMIC_SHARED(type, name)   the launch's dynamic shared memory as `type* name`
///
/// The plain keyword __shared__ does not compile in the emulator: the macro is what lets it fill
/// every block's shared memory with NaN and watch its bounds.
#if defined(__CUDACC__)

#include <cuda_runtime.h>

#define HESSCOPE_SHARED(type, name, extent) __shared__ type name[extent]

#define HESSCOPE_DYNAMIC_SHARED(type, name)                                       \
  extern __shared__ __align__(16) unsigned char hesscope_dynamic_shared_memory[]; \
  type* name = reinterpret_cast<type*>(hesscope_dynamic_shared_memory)

#else

#include "cuda_emulation.h"

#define HESSCOPE_SHARED(type, name, extent)                                        \
  type(&name)[extent] = [&]() -> type(&)[extent] {                                 \
    static char declaration; /* its address tells this array from all others */    \
    return ::hesscope::emulation::shared_array<type[extent]>(&declaration, #name); \
  }()

#define HESSCOPE_DYNAMIC_SHARED(type, name) \
  type* name = static_cast<type*>(::hesscope::emulation::dynamic_shared_memory())

#endif
