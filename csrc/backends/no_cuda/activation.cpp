#include "backends/no_cuda/stub.h"
#include "kernels/activation_kernels.h"

namespace hesscope::cuda {

template <typename T>
void activation_derivatives(const Context&, Activation, MatrixView<const T>, BatchView<T>) {
  HESSCOPE_STUB("activation_derivatives");
}

HESSCOPE_INSTANTIATE_ACTIVATION(float)
HESSCOPE_INSTANTIATE_ACTIVATION(double)

}  // namespace hesscope::cuda
