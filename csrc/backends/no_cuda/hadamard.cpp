#include "backends/no_cuda/stub.h"
#include "kernels/hadamard_kernels.h"

namespace hesscope::cuda {

template <typename T>
void walsh_hadamard(const Context&, MatrixView<T>, T) {
  HESSCOPE_STUB("walsh_hadamard");
}

HESSCOPE_INSTANTIATE_HADAMARD(float)
HESSCOPE_INSTANTIATE_HADAMARD(double)

}  // namespace hesscope::cuda
