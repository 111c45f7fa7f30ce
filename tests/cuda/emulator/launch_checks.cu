/// The launch helper and the emulator's host side: what they refuse, and that a refusal leaves no
/// trace.
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <string>

#include "backends/cuda/device/reduce.cuh"
#include "backends/cuda/launch.h"
#include "device_array.h"
#include "emulator.h"

namespace hesscope::cuda {
namespace {

/// Objects alive on the stacks of CUDA threads.
std::atomic<int> num_alive = 0;

struct Counted {
  Counted() { ++num_alive; }
  ~Counted() { --num_alive; }
};

__global__ void fails_while_others_wait_kernel() {
  const Counted counted;
  if (threadIdx.x == 40) __shfl_sync(1u, 0, 0);  // a mask that lacks the lane
  __syncthreads();
}

__global__ void block_sum_kernel(int* out  // [1]
) {
  const int sum = block_sum<64>(static_cast<int>(threadIdx.x));
  if (threadIdx.x == 0) *out = sum;
}

/// The text of the E that `call` throws; empty if it throws nothing.
template <typename E, typename Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

bool grids_beyond_the_hardware_are_refused() {
  const dim3 largest = make_grid(kMaxGridX, kMaxGridYZ, kMaxGridYZ);
  bool refused = largest.x == 0x7fffffffu && largest.y == 65535 && largest.z == 65535;
  const index_t wrong[][3] = {{0, 1, 1},
                              {1, 0, 1},
                              {1, 1, -1},
                              {kMaxGridX + 1, 1, 1},
                              {1, kMaxGridYZ + 1, 1},
                              {1, 1, kMaxGridYZ + 1}};
  for (const auto& [x, y, z] : wrong) {
    const std::string text = error_of<ShapeError>([&] { make_grid(x, y, z); });
    refused = refused && contains(text, "make_grid: blocks must be in [1, 2147483647]");
  }
  return refused;
}

bool launches_beyond_the_hardware_are_refused() {
  DeviceArray<int> out(1);
  const auto try_launch = [&](Grid grid, dim3 block, std::size_t bytes) {
    return error_of<CudaError>(
        [&] { launch(block_sum_kernel, grid, block, bytes, nullptr, out.data()); });
  };
  return contains(try_launch(1, 1025, 0), "a block must have 1 to 1024 threads") &&
         contains(try_launch(1, dim3(1, 1, 65), 0), "at most 64 in z") &&
         contains(try_launch(0, 64, 0), "a grid must have") &&
         contains(try_launch(1, 64, 228 << 10), "more than 227 KiB") &&
         contains(try_launch(1, 64, 227 << 10), "more than 227 KiB of shared memory") &&
         contains(try_launch(1, 1025, 0), "(launch_checks.cu:");
}

bool an_unknown_device_is_refused() {
  {
    const ScopedDevice known(Device{DeviceType::cuda, 0});
  }
  const std::string text = error_of<CudaError>([] { ScopedDevice(Device{DeviceType::cuda, 3}); });
  return contains(text, "cudaSetDevice") && contains(text, "invalid device ordinal");
}

bool a_failed_kernel_is_unwound() {
  const std::string text =
      error_of<CudaError>([] { launch(fails_while_others_wait_kernel, 2, 64, 0, nullptr); });
  DeviceArray<int> out(1);
  launch(block_sum_kernel, 1, 64, 0, nullptr, out.data());
  return contains(text, "mask lacks the calling lane") && num_alive == 0 &&
         out.values()[0] == 64 * 63 / 2;
}

}  // namespace

Verdict run_launch_checks() {
  const struct {
    const char* claim;
    bool holds;
  } checks[] = {
      {"grids beyond the hardware are refused", grids_beyond_the_hardware_are_refused()},
      {"launches beyond the hardware are refused", launches_beyond_the_hardware_are_refused()},
      {"an unknown device is refused", an_unknown_device_is_refused()},
      {"a failed kernel is unwound", a_failed_kernel_is_unwound()},
  };
  bool all = true;
  for (const auto& [claim, holds] : checks) {
    all = all && holds;
    std::printf("%-45s %s\n", claim, holds ? "ok" : "WRONG");
  }
  return all ? Verdict::right : Verdict::wrong_value;
}

}  // namespace hesscope::cuda
