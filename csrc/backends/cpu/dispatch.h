#pragma once

#include "kernels/cpu_level.h"

/// Run a kernel's copy for this machine's instruction set, e.g. HESSCOPE_CPU_DISPATCH(multi_dot<Q,
/// W>(ctx, q)).
#if defined(HESSCOPE_CPU_LEVELS)
#define HESSCOPE_CPU_DISPATCH(...)            \
  switch (level()) {                          \
    case 4:                                   \
      return ::hesscope::cpu_v4::__VA_ARGS__; \
    case 3:                                   \
      return ::hesscope::cpu_v3::__VA_ARGS__; \
    default:                                  \
      return ::hesscope::cpu_v2::__VA_ARGS__; \
  }
#else
#define HESSCOPE_CPU_DISPATCH(...) return ::hesscope::cpu_v2::__VA_ARGS__;
#endif
