#include "backends/no_cuda/stub.h"
#include "kernels/elementary_kernels.h"

namespace hesscope::cuda {

void elementary_map(const Context&, ElementaryFunction, VectorView<const double>,
                    VectorView<double>) {
  HESSCOPE_STUB("elementary_map");
}

}  // namespace hesscope::cuda
