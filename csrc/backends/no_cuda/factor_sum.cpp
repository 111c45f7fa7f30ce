#include "backends/no_cuda/stub.h"
#include "kernels/factor_sum_kernels.h"

namespace hesscope::cuda {

template <typename T>
void factor_sum(const Context&, const FactorSum<T>&) {
  HESSCOPE_STUB("factor_sum");
}

HESSCOPE_INSTANTIATE_FACTOR_SUM(float)
HESSCOPE_INSTANTIATE_FACTOR_SUM(double)

}  // namespace hesscope::cuda
