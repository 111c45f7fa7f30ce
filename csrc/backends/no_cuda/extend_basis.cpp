#include "backends/no_cuda/stub.h"
#include "kernels/extend_basis_kernels.h"

namespace hesscope::cuda {

template <typename T>
void extend_basis(const Context&, BatchView<T>, MatrixView<T>, MatrixView<const T>,
                  MatrixView<const double>, MatrixView<const double>, MatrixView<double>) {
  HESSCOPE_STUB("extend_basis");
}

HESSCOPE_INSTANTIATE_EXTEND_BASIS(float)
HESSCOPE_INSTANTIATE_EXTEND_BASIS(double)

}  // namespace hesscope::cuda
