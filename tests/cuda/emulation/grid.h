#pragma once

#include <cstdint>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>
#include <tuple>
#include <vector>

#include "scheduler.h"
#include "worker_pool.h"

namespace hesscope::emulation {

/// OS threads of a parallel launch. The thread sanitizer has room for 8192 fibers, here 4 x 1024.
inline constexpr std::size_t kMaxWorkers = 4;

inline void check_launch(const Launch& launch) {
  const dim3 grid = launch.grid, block = launch.block;
  const std::uint64_t threads = static_cast<std::uint64_t>(block.x) * block.y * block.z;
  if (current_block != nullptr) throw Error("a launch from inside a kernel");
  if (threads == 0 || threads > kMaxThreads || block.z > 64) {
    throw Error("a block must have 1 to 1024 threads, and at most 64 in z");
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 ||
      grid.z > 65535) {
    throw Error("a grid must have 1 to 2147483647 blocks in x, 1 to 65535 in y and in z");
  }
  if (launch.dynamic_shared_bytes > kMaxShared) {
    throw Error("more than 227 KiB of dynamic shared memory");
  }
}

/// Block number `number` in the order forward: x fastest.
inline uint3 block_index(const Launch& launch, std::uint64_t number) {
  const std::uint64_t row = number / launch.grid.x;
  return {static_cast<unsigned>(number % launch.grid.x), static_cast<unsigned>(row % launch.grid.y),
          static_cast<unsigned>(row / launch.grid.y)};
}

inline std::vector<std::uint64_t> block_order(std::uint64_t num_blocks, const Options& options) {
  std::vector<std::uint64_t> order(num_blocks);
  std::iota(order.begin(), order.end(), std::uint64_t{0});
  if (options.order == Order::reverse) std::reverse(order.begin(), order.end());
  if (options.order == Order::random) {
    std::uint64_t random = mix(options.seed);
    for (std::uint64_t i = num_blocks; i > 1; --i) {
      random = mix(random);
      std::swap(order[i - 1], order[random % i]);
    }
  }
  return order;
}

/// Neighbours in `order` run on different OS threads, and nothing orders one before the other: that
/// is how the thread sanitizer sees races between blocks.
inline void run_in_parallel(const Launch& launch, const std::vector<std::uint64_t>& order,
                            const Options& options) {
  const std::size_t num_workers = std::min(kMaxWorkers, order.size());
  LeasedWorkers workers(num_workers);
  std::mutex mutex;
  std::exception_ptr error;
  std::vector<std::thread> threads;
  for (std::size_t worker = 0; worker < num_workers; ++worker) {
    threads.emplace_back([&, worker] {
      try {
        for (std::size_t i = worker; i < order.size(); i += num_workers) {
          run_block(workers[worker], launch, block_index(launch, order[i]), options);
        }
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);
}

inline void run_launch(const Launch& launch) {
  check_launch(launch);
  const Options options = Options::from_environment();
  const std::uint64_t num_blocks =
      static_cast<std::uint64_t>(launch.grid.x) * launch.grid.y * launch.grid.z;
  const std::vector<std::uint64_t> order = block_order(num_blocks, options);
  if (options.parallel_blocks) {
    run_in_parallel(launch, order, options);
  } else {
    LeasedWorkers workers(1);
    for (const std::uint64_t number : order) {
      run_block(workers[0], launch, block_index(launch, number), options);
    }
  }
}

/// Run `kernel(arguments...)` in every thread of the grid; returns when all is done. Every thread
/// gets its own copy of the arguments. Throws Error for a broken rule, and whatever the kernel
/// throws.
template <typename... Parameters>
void run_grid(void (*kernel)(Parameters...), dim3 grid, dim3 block,
              std::size_t dynamic_shared_bytes, Parameters... arguments) {
  const auto closure = [kernel, bound = std::tuple<Parameters...>(arguments...)] {
    std::apply(kernel, bound);
  };
  const auto run_thread = [](const void* opaque) {
    (*static_cast<const decltype(closure)*>(opaque))();
  };
  run_launch({run_thread, &closure, grid, block, dynamic_shared_bytes});
}

}  // namespace hesscope::emulation
