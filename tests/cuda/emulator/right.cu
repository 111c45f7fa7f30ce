/// Right kernels against results that the host computes in the most literal way. All values are
/// small integers or sums that fit float64 exactly, so every comparison is for equality.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "backends/cuda/launch.h"
#include "device_array.h"
#include "emulator.h"
#include "right_kernels.cuh"

namespace hesscope::cuda {
namespace {

/// [n], integers in [-range, range].
std::vector<int> integers(std::size_t n, int range) {
  std::vector<int> values(n);
  std::uint64_t state = n;
  for (int& value : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;  // Knuth (1997), MMIX
    value = static_cast<int>((state >> 33) % static_cast<std::uint64_t>(2 * range + 1)) - range;
  }
  return values;
}

bool sums_rows_of_any_alignment() {
  for (const std::size_t n : {0u, 1u, 3u, 31u, 33u, 1023u, 1025u, 10007u}) {
    for (const std::size_t offset : {0u, 1u, 2u, 3u}) {
      const std::vector<int> whole = integers(n + offset, 1000);
      DeviceArray<float> x(std::vector<float>(whole.begin(), whole.end()));
      DeviceArray<double> partial(5);
      launch(sum_kernel, make_grid(5), kReduceThreads, 0, nullptr, x.data() + offset,
             static_cast<index_t>(n), partial.data());
      const std::vector<double> parts = partial.values();
      const double want =
          std::accumulate(whole.begin() + static_cast<std::ptrdiff_t>(offset), whole.end(), 0.0);
      if (std::accumulate(parts.begin(), parts.end(), 0.0) != want) return false;
    }
  }
  return true;
}

bool transposes_ragged_matrices() {
  const int rows = 35, cols = 49;
  const std::vector<int> whole = integers(rows * cols, 1000);
  DeviceArray<double> x(std::vector<double>(whole.begin(), whole.end())), y(rows * cols);
  const dim3 grid = make_grid(ceil_div(cols, kTile), ceil_div(rows, kTile));
  launch(transpose_kernel, grid, dim3(kTile, kTile), 0, nullptr, x.data(), rows, cols, y.data());
  const std::vector<double> got = y.values();
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < cols; ++j) {
      if (got[static_cast<std::size_t>(j * rows + i)] !=
          whole[static_cast<std::size_t>(i * cols + j)])
        return false;
    }
  }
  return true;
}

bool scans_in_dynamic_shared_memory() {
  const std::size_t width = 96, blocks = 3;
  const std::vector<int> x = integers(width * blocks, 100);
  DeviceArray<int> device_x(x), y(x.size());
  launch(scan_kernel, blocks, width, 2 * width * sizeof(int), nullptr, device_x.data(), y.data());
  std::vector<int> want(x.size());
  for (std::size_t b = 0; b < blocks; ++b) {
    const auto first = static_cast<std::ptrdiff_t>(b * width),
               last = first + static_cast<std::ptrdiff_t>(width);
    std::partial_sum(x.begin() + first, x.begin() + last, want.begin() + first);
  }
  return y.values() == want;
}

bool counts_with_atomics() {
  std::vector<int> x = integers(5000, 1000);
  for (int& value : x) value = (value + 1000) % kBins;
  std::vector<unsigned> want(kBins);
  for (const int value : x) ++want[static_cast<std::size_t>(value)];
  DeviceArray<int> device_x(x);
  DeviceArray<unsigned> count(std::vector<unsigned>(kBins, 0));
  launch(histogram_kernel, 7, 96, 0, nullptr, device_x.data(), static_cast<index_t>(x.size()),
         count.data());
  return count.values() == want;
}

bool compacts_with_ballots() {
  std::vector<int> x = integers(1000, 50);
  DeviceArray<int> device_x(x), y(x.size());
  DeviceArray<unsigned> count(std::vector<unsigned>{0});
  launch(compact_kernel, 8, 128, 0, nullptr, device_x.data(), static_cast<int>(x.size()), y.data(),
         count.data());
  std::erase_if(x, [](int value) { return value <= 0; });
  std::vector<int> got = y.values();
  got.resize(count.values()[0]);
  std::ranges::sort(got);
  std::ranges::sort(x);
  return got == x;
}

bool last_block_sees_all_blocks() {
  const std::vector<int> x = integers(20000, 1000);
  DeviceArray<int> device_x(x), partial(16), out(1);
  DeviceArray<unsigned> ticket(std::vector<unsigned>{0});
  for (int repeat = 0; repeat < 2; ++repeat) {
    launch(last_block_sum_kernel, 16, kReduceThreads, 0, nullptr, device_x.data(),
           static_cast<int>(x.size()), partial.data(), ticket.data(), out.data());
  }
  return out.values()[0] == std::accumulate(x.begin(), x.end(), 0);
}

bool warp_functions_agree_with_their_definitions() {
  const int threads = 40;  // the second warp has 8 lanes
  DeviceArray<int> y(static_cast<std::size_t>(threads * kWarpResults));
  launch(warp_kernel, 1, threads, 0, nullptr, y.data());
  const std::vector<int> got = y.values();
  for (int t = 0; t < threads; ++t) {
    const int lane = t % 32, first = t - lane, lanes = std::min(32, threads - first);
    const int want[kWarpResults] = {first + 3,
                                    first + lane / 8 * 8 + 5,
                                    lane == 0 ? t : t - 1,
                                    lane % 4 < 2 ? t + 2 : t,
                                    t ^ 1,
                                    1,
                                    lanes < 32,
                                    lanes * (lanes - 1) / 2,
                                    (threads + 2) / 3,
                                    1,
                                    1,
                                    lane < 8 ? first + lane / 4 * 4 : -1};
    if (!std::equal(want, want + kWarpResults, got.begin() + t * kWarpResults)) return false;
  }
  return true;
}

bool moves_bfloat16() {
  std::vector<bfloat16> x(8 * 2 * 32);
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = {__bfloat16_as_ushort(__float2bfloat16(static_cast<float>(i % 100)))};
  DeviceArray<bfloat16> device_x(x), y(x.size());
  launch(bfloat16_kernel, 2, 32, 0, nullptr, device_x.data(), y.data());
  const std::vector<bfloat16> got = y.values();
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (__bfloat162float(__ushort_as_bfloat16(got[i].bits)) != static_cast<float>(i % 100 + 1))
      return false;
  }
  return true;
}

bool runs_every_thread_once() {
  const std::size_t threads = 3 * 4 * 2 * 5 * 2 * 3;
  DeviceArray<index_t> y(threads);
  launch(number_kernel, make_grid(5, 2, 3), dim3(3, 4, 2), 0, nullptr, y.data());
  std::vector<index_t> want(threads);
  std::iota(want.begin(), want.end(), 0);
  return y.values() == want;
}

bool host_threads_launch_side_by_side() {
  bool right[3] = {};
  std::vector<std::thread> threads;
  for (bool& mine : right) {
    threads.emplace_back(
        [&mine] { mine = scans_in_dynamic_shared_memory() && counts_with_atomics(); });
  }
  for (std::thread& thread : threads) thread.join();
  return right[0] && right[1] && right[2];
}

struct Check {
  const char* claim;
  bool (*holds)();
};

const Check kChecks[] = {
    {"sums rows of any alignment", sums_rows_of_any_alignment},
    {"transposes ragged matrices", transposes_ragged_matrices},
    {"scans in dynamic shared memory", scans_in_dynamic_shared_memory},
    {"counts with atomics", counts_with_atomics},
    {"compacts with ballots", compacts_with_ballots},
    {"the last block sees all blocks", last_block_sees_all_blocks},
    {"warp functions agree with their definitions", warp_functions_agree_with_their_definitions},
    {"moves bfloat16", moves_bfloat16},
    {"runs every thread once", runs_every_thread_once},
    {"host threads launch side by side", host_threads_launch_side_by_side},
};

}  // namespace

Verdict run_right_kernels() {
  bool all = true;
  for (const Check& check : kChecks) {
    const bool holds = check.holds();
    all = all && holds;
    std::printf("%-45s %s\n", check.claim, holds ? "ok" : "WRONG");
  }
  return all ? Verdict::right : Verdict::wrong_value;
}

}  // namespace hesscope::cuda
