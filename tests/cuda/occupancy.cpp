/// Occupancy by NVIDIA's own cuda_occupancy.h, to compare tests/cuda/resources.py with. Reads lines
/// of "arch registers shared threads" from standard input, writes resident warps of 64 for each.
#include <cuda_occupancy.h>

#include <cstdio>
#include <cstring>

namespace {

constexpr int kSharedPerSm80 = 164 << 10, kSharedPerSm90 = 228 << 10;

cudaOccDeviceProp device(int arch) {
  cudaOccDeviceProp p;
  std::memset(static_cast<void*>(&p), 0, sizeof p);
  p.computeMajor = arch / 10;
  p.computeMinor = arch % 10;
  p.maxThreadsPerBlock = 1024;
  p.maxThreadsPerMultiprocessor = 2048;
  p.regsPerBlock = p.regsPerMultiprocessor = 65536;
  p.warpSize = 32;
  p.numSms = 100;
  p.sharedMemPerBlock = 48 << 10;
  p.reservedSharedMemPerBlock = 1 << 10;
  p.sharedMemPerMultiprocessor = arch == 80 ? kSharedPerSm80 : kSharedPerSm90;
  p.sharedMemPerBlockOptin = p.sharedMemPerMultiprocessor - (1 << 10);
  return p;
}

int resident_warps(int arch, int registers, int shared, int threads) {
  const cudaOccDeviceProp properties = device(arch);
  cudaOccFuncAttributes kernel;
  std::memset(static_cast<void*>(&kernel), 0, sizeof kernel);
  kernel.maxThreadsPerBlock = 1024;
  kernel.numRegs = registers;
  kernel.sharedSizeBytes = static_cast<std::size_t>(shared);
  kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
  kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  kernel.maxDynamicSharedSizeBytes = properties.sharedMemPerBlockOptin;
  kernel.numBlockBarriers = 1;
  cudaOccDeviceState state;
  std::memset(static_cast<void*>(&state), 0, sizeof state);
  state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
  cudaOccResult result;
  const cudaOccError error =
      cudaOccMaxActiveBlocksPerMultiprocessor(&result, &properties, &kernel, &state, threads, 0);
  if (error != CUDA_OCC_SUCCESS) return -1;
  return result.activeBlocksPerMultiprocessor * ((threads + 31) / 32);
}

}  // namespace

int main() {
  int arch, registers, shared, threads;
  while (std::scanf("%d %d %d %d", &arch, &registers, &shared, &threads) == 4) {
    std::printf("%d\n", resident_warps(arch, registers, shared, threads));
  }
}
