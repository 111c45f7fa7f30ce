#include "environment.h"

#include <algorithm>
#include <ctime>
#include <fstream>
#include <thread>

#include "hesscope/build.h"
#include "hesscope/json.h"
#include "options.h"

namespace hesscope::bench {

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

index_t cache_bytes(Backend backend) {
  constexpr index_t kKiB = 1 << 10, kMiB = 1 << 20;
  if (backend == Backend::cuda) return 128 * kMiB;
  // Not sysconf: in a virtual machine it adds up caches that one core cannot reach.
  index_t largest = 0, kib = 0;
  for (int level = 0; level < 5; ++level) {
    std::ifstream size("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(level) +
                       "/size");
    if (size >> kib) largest = std::max(largest, kib * kKiB);
  }
  return largest > 0 ? largest : 32 * kMiB;
}

std::string environment_json(Backend backend, int threads) {
  const BuildInfo build = build_info();
  const std::time_t now = std::time(nullptr);
  char date[32];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return JsonObject()
      .add("date", date)
      .add("version", build.version)
      .add("commit", HESSCOPE_COMMIT)
      .add("build_type", HESSCOPE_BUILD_TYPE)
      .add("compiler", build.compiler)
      .add("cpu", cpu_name())
      .add("cpu_level", build.cpu_level)
      .add("blas", build.blas)
      .add("hardware_threads", static_cast<double>(std::thread::hardware_concurrency()))
      .add("cache_bytes", static_cast<double>(cache_bytes(backend)))
      .add("cuda", build.cuda)
      .add("backend", name_of(backend))
      .add("threads", threads)
      .str();
}

}  // namespace hesscope::bench
