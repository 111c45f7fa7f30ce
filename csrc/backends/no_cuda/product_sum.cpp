#include "backends/no_cuda/stub.h"
#include "kernels/product_sum_kernels.h"

namespace hesscope::cuda {

template <typename T>
void product_sum(const Context&, const ProductSum<T>&, BatchView<T>) {
  HESSCOPE_STUB("product_sum");
}

HESSCOPE_INSTANTIATE_PRODUCT_SUM(float)
HESSCOPE_INSTANTIATE_PRODUCT_SUM(double)

}  // namespace hesscope::cuda
