#include "backends/no_cuda/stub.h"
#include "kernels/density_kernels.h"

namespace hesscope::cuda {

void smoothed_density(const Context&, MatrixView<const double>, MatrixView<const double>,
                      VectorView<const double>, double, MatrixView<double>) {
  HESSCOPE_STUB("smoothed_density");
}

void smoothed_cdf(const Context&, MatrixView<const double>, MatrixView<const double>,
                  VectorView<const double>, double, MatrixView<double>) {
  HESSCOPE_STUB("smoothed_cdf");
}

}  // namespace hesscope::cuda
