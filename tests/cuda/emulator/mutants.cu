/// Kernels that are wrong on purpose, each in one place. tests/test_cuda_emulator.py says which
/// build must notice which. `// WRONG` marks the place.
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <vector>

#include "backends/cuda/device/reduce.cuh"
#include "backends/cuda/device/vector_load.cuh"
#include "backends/cuda/launch.h"
#include "device_array.h"
#include "emulator.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 64;
using Values = std::vector<float>;

// y = x reversed.
__global__ void missing_barrier(const float* x, float* y) {
  HESSCOPE_SHARED(float, tile, kThreads);
  tile[threadIdx.x] = x[threadIdx.x];
  // WRONG: no __syncthreads()
  y[threadIdx.x] = tile[kThreads - 1 - threadIdx.x];
}

// y = x[0] everywhere. In forward order thread 0 happens to come first.
__global__ void missing_barrier_after_broadcast(const float* x, float* y) {
  HESSCOPE_SHARED(float, first, 1);
  if (threadIdx.x == 0) first[0] = x[0];
  // WRONG: no __syncthreads()
  y[threadIdx.x] = first[0];
}

// y = x reversed, twice through the same shared memory.
__global__ void missing_second_barrier(const float* x, float* y) {
  HESSCOPE_SHARED(float, tile, kThreads);
  for (int round = 0; round < 2; ++round) {
    tile[threadIdx.x] = x[threadIdx.x] + static_cast<float>(round);
    __syncthreads();
    y[threadIdx.x] = tile[kThreads - 1 - threadIdx.x] - static_cast<float>(round);
    // WRONG: no __syncthreads() before the tile is written again
  }
}

// Neighbours swap. The shuffle makes the lanes meet but does not order memory.
__global__ void missing_syncwarp(const float* x, float* y) {
  HESSCOPE_SHARED(float, tile, kThreads);
  tile[threadIdx.x] = x[threadIdx.x];
  const float zero = __shfl_sync(kFullWarp, 0.0f, 0);  // WRONG: __syncwarp() is missing
  y[threadIdx.x] = tile[threadIdx.x ^ 1] + zero;
}

// y = sum of the warp, in every lane.
__global__ void wrong_shuffle_offset(const float* x, float* y) {
  float sum = x[threadIdx.x];
  for (int distance = 8; distance > 0; distance /= 2) {  // WRONG: starts at 16
    sum += __shfl_xor_sync(kFullWarp, sum, distance);
  }
  y[threadIdx.x] = sum;
}

__global__ void divergent_shuffle(const float* x, float* y) {
  float value = x[threadIdx.x];
  if (threadIdx.x < 7) value = __shfl_down_sync(kFullWarp, value, 1);  // WRONG: not all lanes come
  y[threadIdx.x] = value;
}

__global__ void shuffle_in_both_branches(const float* x, float* y) {
  float value = x[threadIdx.x];
  if (threadIdx.x % 2 == 0) {
    value = __shfl_xor_sync(kFullWarp, value, 1);  // WRONG: the odd lanes meet elsewhere
  } else {
    value = __shfl_xor_sync(kFullWarp, value, 1);
  }
  y[threadIdx.x] = value;
}

__global__ void returned_lane_in_mask(const float* x, float* y) {
  if (threadIdx.x == 40) return;  // WRONG: the others name this lane
  y[threadIdx.x] = __shfl_sync(kFullWarp, x[threadIdx.x], 0);
}

__global__ void divergent_barrier(const float* x, float* y) {
  if (threadIdx.x < 16) __syncthreads();  // WRONG: the others never come
  y[threadIdx.x] = x[threadIdx.x];
}

__global__ void barrier_in_both_branches(const float* x, float* y) {
  if (threadIdx.x < 16) {
    __syncthreads();  // WRONG: two barriers, each for a part of the block
  } else {
    __syncthreads();
  }
  y[threadIdx.x] = x[threadIdx.x];
}

__global__ void deadlock(const float* x, float* y) {
  if (threadIdx.x < 16) {
    __syncwarp();  // WRONG: half of the warp waits here, the rest of the block at the barrier
  } else {
    __syncthreads();
  }
  y[threadIdx.x] = x[threadIdx.x];
}

__global__ void static_shared_overrun(const float* x, float* y) {
  HESSCOPE_SHARED(float, tile, kThreads);
  tile[threadIdx.x + 1] = x[threadIdx.x];  // WRONG: + 1
  __syncthreads();
  y[threadIdx.x] = threadIdx.x == 0 ? x[0] : tile[threadIdx.x];
}

__global__ void dynamic_shared_overrun(const float* x, float* y) {
  HESSCOPE_DYNAMIC_SHARED(float, tile);
  tile[threadIdx.x + 1] = x[threadIdx.x];  // WRONG: + 1
  __syncthreads();
  y[threadIdx.x] = threadIdx.x == 0 ? x[0] : tile[threadIdx.x];
}

__global__ void global_overrun(const float* x, float* y) {
  if (threadIdx.x == kThreads - 1) y[kThreads] = 0.0f;  // WRONG: y has kThreads entries
  y[threadIdx.x] = x[threadIdx.x];
}

__global__ void global_overread(const float* x, float* y) {
  const float next = x[threadIdx.x + 1];  // WRONG: the last thread reads past x
  y[threadIdx.x] = threadIdx.x + 1 == kThreads && next == 0.5f ? next : x[threadIdx.x];
}

__global__ void misaligned_load(const float* x, float* y) {
  y[threadIdx.x] = x[threadIdx.x];
  if (threadIdx.x == 0) y[1] = load_vector(x + 1).element[0];  // WRONG: 4 bytes past a boundary
}

__global__ void uninitialised_static_shared(const float* x, float* y) {
  HESSCOPE_SHARED(float, sum, kThreads);
  sum[threadIdx.x] += x[threadIdx.x];  // WRONG: starts from garbage
  y[threadIdx.x] = sum[threadIdx.x];
}

__global__ void uninitialised_dynamic_shared(const float* x, float* y) {
  HESSCOPE_DYNAMIC_SHARED(float, sum);
  sum[threadIdx.x] += x[threadIdx.x];  // WRONG: starts from garbage
  y[threadIdx.x] = sum[threadIdx.x];
}

// y = x - kThreads: the entry left out would be right if fresh memory were zero.
__global__ void uninitialised_output(const float* x, float* y) {
  if (threadIdx.x + 1 == kThreads) return;  // WRONG: the last entry is never written
  y[threadIdx.x] = x[threadIdx.x] - kThreads;
}

// The entry after y counts the blocks. No schedule of whole threads shows the mistake.
__global__ void lost_update_between_blocks(const float* x, float* y) {
  if (blockIdx.x == 0) y[threadIdx.x] = x[threadIdx.x];
  if (threadIdx.x == 0) y[kThreads] += 1.0f;  // WRONG: no atomicAdd
}

// The threads count themselves in shared memory.
__global__ void lost_update_in_block(const float* x, float* y) {
  HESSCOPE_SHARED(int, count, 1);
  if (threadIdx.x == 0) count[0] = 0;
  __syncthreads();
  count[0] += 1;  // WRONG: no atomicAdd
  __syncthreads();
  y[threadIdx.x] = x[threadIdx.x] + static_cast<float>(count[0] - kThreads);
}

// Blocks hand a value on through global memory. In forward order block 0 happens to come first.
__global__ void needs_block_order(const float* x, float* y) {
  if (blockIdx.x == 0) y[kThreads + threadIdx.x] = x[threadIdx.x];
  if (blockIdx.x == 1) y[threadIdx.x] = y[kThreads + threadIdx.x];  // WRONG: block 0 may come later
}

// The last block to finish reads what all blocks wrote: write, fence, atomic | atomic, fence, read.
template <bool kWriterFence, bool kReaderFence>
__global__ void last_block(const float* x, float* y) {
  float* partial = y + kThreads;                                    // [gridDim.x]
  auto* ticket = reinterpret_cast<unsigned*>(partial + gridDim.x);  // [1], zero
  HESSCOPE_SHARED(bool, last, 1);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = x[0];
    if (kWriterFence) __threadfence();  // WRONG without it
    last[0] = atomicInc(ticket, gridDim.x - 1) == gridDim.x - 1;
    if (kReaderFence) __threadfence();  // WRONG without it
  }
  __syncthreads();
  if (!last[0]) return;
  float difference = 0.0f;
  for (unsigned b = 0; b < gridDim.x; ++b) difference += partial[b] - x[0];
  y[threadIdx.x] = x[threadIdx.x] + difference;
}

Values identity(const Values& x) { return x; }
Values reversed(const Values& x) { return Values(x.rbegin(), x.rend()); }
Values broadcast(const Values& x) { return Values(x.size(), x[0]); }
Values less_the_size(const Values& x) {
  Values y(x);
  for (float& value : y) value -= static_cast<float>(kThreads);
  return y;
}
Values swapped(const Values& x) {
  Values y(x);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = x[i ^ 1];
  return y;
}
Values warp_sums(const Values& x) {
  Values y(x);
  for (std::size_t i = 0; i < y.size(); ++i) {
    float sum = 0.0f;
    for (std::size_t lane = 0; lane < 32; ++lane) sum += x[i / 32 * 32 + lane];
    y[i] = sum;  // small integers: exact in any order
  }
  return y;
}

struct Mutant {
  const char* name;
  void (*kernel)(const float* x, float* y);  // x: [kThreads]; y: [kThreads], room for last_block
  Values (*expected)(const Values& x);       // what the kernel would give without its mistake
  unsigned blocks = 1;
  std::size_t extra = 0;  // entries of y past kThreads, zero at first
};

constexpr unsigned kBlocks = 8;

const Mutant kMutants[] = {
    {"missing_barrier", missing_barrier, reversed},
    {"missing_barrier_after_broadcast", missing_barrier_after_broadcast, broadcast},
    {"missing_second_barrier", missing_second_barrier, reversed},
    {"missing_syncwarp", missing_syncwarp, swapped},
    {"wrong_shuffle_offset", wrong_shuffle_offset, warp_sums},
    {"divergent_shuffle", divergent_shuffle, identity},
    {"shuffle_in_both_branches", shuffle_in_both_branches, swapped},
    {"returned_lane_in_mask", returned_lane_in_mask, broadcast},
    {"divergent_barrier", divergent_barrier, identity},
    {"barrier_in_both_branches", barrier_in_both_branches, identity},
    {"deadlock", deadlock, identity},
    {"static_shared_overrun", static_shared_overrun, identity},
    {"dynamic_shared_overrun", dynamic_shared_overrun, identity},
    {"global_overrun", global_overrun, identity},
    {"global_overread", global_overread, identity},
    {"misaligned_load", misaligned_load, identity},
    {"uninitialised_static_shared", uninitialised_static_shared, identity},
    {"uninitialised_dynamic_shared", uninitialised_dynamic_shared, identity},
    {"uninitialised_output", uninitialised_output, less_the_size},
    {"lost_update_between_blocks", lost_update_between_blocks, identity, kBlocks, 1},
    {"lost_update_in_block", lost_update_in_block, identity},
    {"needs_block_order", needs_block_order, identity, 2, kThreads},
    {"missing_writer_fence", last_block<false, true>, identity, kBlocks, kBlocks + 1},
    {"missing_reader_fence", last_block<true, false>, identity, kBlocks, kBlocks + 1},
    {"control", last_block<true, true>, identity, kBlocks, kBlocks + 1},  // nothing is wrong
};

}  // namespace

Verdict run_mutant(const char* name) {
  for (const Mutant& mutant : kMutants) {
    if (std::strcmp(mutant.name, name) != 0) continue;
    Values values(kThreads);
    for (int i = 0; i < kThreads; ++i)
      values[static_cast<std::size_t>(i)] = static_cast<float>(i + 1);
    DeviceArray<float> x(values), y(kThreads + mutant.extra);
    if (mutant.extra > 0) {
      HESSCOPE_CUDA_CHECK(cudaMemset(y.data() + kThreads, 0, mutant.extra * sizeof(float)));
    }
    try {
      launch(mutant.kernel, mutant.blocks, kThreads, kThreads * sizeof(float), nullptr, x.data(),
             y.data());
    } catch (const CudaError& error) {
      std::printf("%s: %s\n", name, error.what());
      return Verdict::error;
    }
    Values got = y.values();
    got.resize(kThreads);
    const bool right = got == mutant.expected(values);
    std::printf("%s: %s\n", name, right ? "nothing noticed" : "wrong values");
    return right ? Verdict::right : Verdict::wrong_value;
  }
  std::printf("no mutant is called '%s'\n", name);
  return Verdict::usage;
}

void list_mutants() {
  for (const Mutant& mutant : kMutants) std::printf("%s\n", mutant.name);
}

}  // namespace hesscope::cuda
