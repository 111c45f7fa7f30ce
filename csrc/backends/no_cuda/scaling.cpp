#include "backends/no_cuda/stub.h"
#include "kernels/scaling_kernels.h"

namespace hesscope::cuda {

template <typename T>
void scale_columns(const Context&, VectorView<const T>, MatrixView<const T>, MatrixView<T>) {
  HESSCOPE_STUB("scale_columns");
}

HESSCOPE_INSTANTIATE_SCALING(float)
HESSCOPE_INSTANTIATE_SCALING(double)

}  // namespace hesscope::cuda
