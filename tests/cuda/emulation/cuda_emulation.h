#pragma once

/// CUDA kernels on a machine without a GPU: included INSTEAD of cuda_runtime.h by a host compiler.
///
/// Every CUDA thread is a fiber; the threads of a block take turns on one OS thread and lose it
/// only at a barrier or a warp operation. What a kernel does wrong is reported as emulation::Error
/// with block, thread and source line: divergent barriers and warp operations, lanes missing from a
/// mask, deadlock, writes past the end of shared memory, misaligned 16-byte accesses. Shared and
/// fresh device memory are filled with NaN. Built with sanitizers it also finds out-of-bounds
/// accesses (address), data races inside a block (thread) and between blocks (thread, with parallel
/// blocks). Not emulated: cooperative groups and launches, tensor cores, half arithmetic, textures,
/// inline PTX, device-side launches.
///
/// Environment, read at every launch:
///   HESSCOPE_EMULATION_ORDER=forward|reverse|random:SEED   order in which threads and blocks take
///   turns HESSCOPE_EMULATION_PARALLEL=1                          blocks run on several OS threads
///
/// Needs a GNU-compatible compiler, x86-64 and NVIDIA's headers; flags: -std=c++20 -x c++
/// -isystem <CUDA include folder> -Wno-unknown-pragmas (for #pragma unroll) -pthread.
#if defined(__CUDACC__)
#error "cuda_emulation.h is for host compilers; nvcc includes cuda_runtime.h"
#endif

#include "atomics.h"
#include "fence.h"
#include "grid.h"
#include "intrinsics.h"
#include "qualifiers.h"  // first: NVIDIA's headers and what becomes of __global__ and its like
#include "runtime_api.h"
#include "shared_memory.h"
#include "synchronize.h"
#include "warp_functions.h"
