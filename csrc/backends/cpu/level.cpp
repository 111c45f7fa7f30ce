#include <algorithm>
#include <cstdlib>

#include "kernels/cpu_level.h"

namespace hesscope::cpu {
namespace {

int supported_level() {
#if defined(HESSCOPE_CPU_LEVELS) && defined(__x86_64__)
  if (__builtin_cpu_supports("x86-64-v4")) return 4;
  if (__builtin_cpu_supports("x86-64-v3")) return 3;
#endif
  return 2;
}

}  // namespace

int level() {
  static const int chosen = [] {
    const char* limit = std::getenv("HESSCOPE_CPU_LEVEL");
    return limit == nullptr ? supported_level()
                            : std::clamp(std::atoi(limit), 2, supported_level());
  }();
  return chosen;
}

}  // namespace hesscope::cpu
