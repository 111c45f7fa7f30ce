#include "backends/no_cuda/stub.h"
#include "kernels/lanczos_kernels.h"

namespace hesscope::cuda {

template <typename T>
void lanczos_update(const Context&, MatrixView<const T>, MatrixView<const T>, MatrixView<const T>,
                    MatrixView<T>, MatrixView<double>, VectorView<double>, VectorView<double>,
                    double) {
  HESSCOPE_STUB("lanczos_update");
}

HESSCOPE_INSTANTIATE_LANCZOS(float)
HESSCOPE_INSTANTIATE_LANCZOS(double)

}  // namespace hesscope::cuda
