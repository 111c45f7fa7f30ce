#include "backends/cpu/dispatch.h"
#include "kernels/product_sum_kernels.h"

namespace hesscope::cpu {

template <typename T>
void product_sum(const Context& ctx, const ProductSum<T>& sum,
                 BatchView<T> out){HESSCOPE_CPU_DISPATCH(product_sum<T>(ctx, sum, out))}

HESSCOPE_INSTANTIATE_PRODUCT_SUM(float) HESSCOPE_INSTANTIATE_PRODUCT_SUM(double)

}  // namespace hesscope::cpu
