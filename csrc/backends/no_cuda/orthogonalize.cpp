#include "backends/no_cuda/stub.h"
#include "kernels/orthogonalize_kernels.h"

namespace hesscope::cuda {

template <typename Q, typename W>
void multi_dot(const Context&, BatchView<const Q>, MatrixView<const W>, MatrixView<double>) {
  HESSCOPE_STUB("multi_dot");
}

template <typename Q, typename W>
void multi_axpy(const Context&, BatchView<const Q>, MatrixView<const double>, MatrixView<W>,
                double) {
  HESSCOPE_STUB("multi_axpy");
}

HESSCOPE_FOR_EACH_BASIS_TYPE(HESSCOPE_INSTANTIATE_ORTHOGONALIZE)

}  // namespace hesscope::cuda
