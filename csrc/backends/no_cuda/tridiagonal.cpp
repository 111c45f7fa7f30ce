#include "backends/no_cuda/stub.h"
#include "kernels/tridiagonal_kernels.h"

namespace hesscope::cuda {

void tridiagonal_eigen(const Context&, MatrixView<const double>, MatrixView<const double>,
                       MatrixView<double>, MatrixView<double>, MatrixView<double>) {
  HESSCOPE_STUB("tridiagonal_eigen");
}

void sturm_count(const Context&, MatrixView<const double>, MatrixView<const double>,
                 VectorView<const double>, MatrixView<std::int64_t>) {
  HESSCOPE_STUB("sturm_count");
}

}  // namespace hesscope::cuda
