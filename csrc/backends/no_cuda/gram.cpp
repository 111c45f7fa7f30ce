#include "backends/no_cuda/stub.h"
#include "kernels/gram_kernels.h"

namespace hesscope::cuda {

template <typename Q, typename W>
void gram(const Context&, MatrixView<const Q>, MatrixView<const W>, MatrixView<double>) {
  HESSCOPE_STUB("gram");
}

HESSCOPE_FOR_EACH_GRAM_TYPE(HESSCOPE_INSTANTIATE_GRAM)

}  // namespace hesscope::cuda
