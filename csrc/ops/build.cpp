#include "hesscope/build.h"

#include "kernels/cpu_level.h"

namespace hesscope {

BuildInfo build_info() {
  return {.version = HESSCOPE_VERSION,
          .compiler = HESSCOPE_COMPILER,
          .cuda = HESSCOPE_CUDA_DESCRIPTION,
          .blas = HESSCOPE_BLAS_DESCRIPTION,
          .cpu_level = "x86-64-v" + std::to_string(cpu::level())};
}

}  // namespace hesscope
