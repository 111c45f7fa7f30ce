#include "backends/no_cuda/stub.h"
#include "kernels/contract3_kernels.h"

namespace hesscope::cuda {

void contract3(const Context&, const double*, MatrixView<const double>, MatrixView<const double>,
               MatrixView<double>) {
  HESSCOPE_STUB("contract3");
}

void contract3_scalar(const Context&, const double*, MatrixView<const double>,
                      MatrixView<const double>, MatrixView<const double>, double*) {
  HESSCOPE_STUB("contract3_scalar");
}

void higher_order_power(const Context&, const double*, MatrixView<double>, double, index_t, double*,
                        double*) {
  HESSCOPE_STUB("higher_order_power");
}

}  // namespace hesscope::cuda
