#include "backends/no_cuda/stub.h"
#include "kernels/gemm_kernels.h"

namespace hesscope::cuda {

template <typename T>
void gemm(const Context&, T, GemmOperand<T>, GemmOperand<T>, T, BatchView<T>) {
  HESSCOPE_STUB("gemm");
}

HESSCOPE_INSTANTIATE_GEMM(float)
HESSCOPE_INSTANTIATE_GEMM(double)

}  // namespace hesscope::cuda
