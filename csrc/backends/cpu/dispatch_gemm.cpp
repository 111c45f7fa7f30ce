#include "backends/cpu/blas_gemm.h"
#include "backends/cpu/dispatch.h"
#include "kernels/gemm_kernels.h"

namespace hesscope::cpu {

template <typename T>
void gemm(const Context& ctx, T alpha, GemmOperand<T> a, GemmOperand<T> x, T beta, BatchView<T> c) {
#if defined(HESSCOPE_BLAS)
  if (blas_gemm(alpha, a, x, beta, c)) return;
#endif
  HESSCOPE_CPU_DISPATCH(gemm<T>(ctx, alpha, a, x, beta, c))
}

HESSCOPE_INSTANTIATE_GEMM(float)
HESSCOPE_INSTANTIATE_GEMM(double)

}  // namespace hesscope::cpu
