#include "backends/cpu/dispatch.h"
#include "kernels/factor_sum_kernels.h"

namespace hesscope::cpu {

template <typename T>
void factor_sum(const Context& ctx, const FactorSum<T>& s) {
  HESSCOPE_CPU_DISPATCH(factor_sum<T>(ctx, s));
}

HESSCOPE_INSTANTIATE_FACTOR_SUM(float)
HESSCOPE_INSTANTIATE_FACTOR_SUM(double)

}  // namespace hesscope::cpu
