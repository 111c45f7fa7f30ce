#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

namespace hesscope::emulation {

/// A kernel or a launch broke a rule of CUDA.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Order : std::uint8_t { forward, reverse, random };

inline constexpr unsigned kLanes = 32;
inline constexpr unsigned kMaxThreads = 1024;         // a block
inline constexpr std::size_t kMaxStatic = 48 << 10;   // static shared memory of a block, bytes
inline constexpr std::size_t kMaxShared = 227 << 10;  // static and dynamic, sm_90 with opt-in
inline constexpr unsigned char kPoison = 0xff;  // NaN as float, double and bfloat16; -1 as int

/// How a launch is scheduled. Read from the environment at every launch, so that one process can
/// run the same test in several orders.
struct Options {
  Order order = Order::forward;
  std::uint64_t seed = 0;        // of the random order
  bool parallel_blocks = false;  // blocks on several OS threads

  static Options from_environment() {
    Options options;
    const char* parallel = std::getenv("HESSCOPE_EMULATION_PARALLEL");
    options.parallel_blocks = parallel != nullptr && std::string_view(parallel) == "1";
    if (const char* order = std::getenv("HESSCOPE_EMULATION_ORDER")) options.set_order(order);
    return options;
  }

 private:
  void set_order(std::string_view text) {
    constexpr std::string_view kRandom = "random:";
    if (text == "forward" || text.empty()) return;
    if (text == "reverse") {
      order = Order::reverse;
    } else if (text.starts_with(kRandom)) {
      order = Order::random;
      seed = std::strtoull(text.data() + kRandom.size(), nullptr, 10);
    } else {
      throw Error("HESSCOPE_EMULATION_ORDER must be forward, reverse or random:SEED, got " +
                  std::string(text));
    }
  }
};

/// splitmix64 (Steele, Lea & Flood 2014): the next state is the result.
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace hesscope::emulation
