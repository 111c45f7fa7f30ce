#include "backends/cpu/dispatch.h"
#include "kernels/scaling_kernels.h"

namespace hesscope::cpu {

template <typename T>
void scale_columns(const Context& ctx, VectorView<const T> d, MatrixView<const T> x,
                   MatrixView<T> y){HESSCOPE_CPU_DISPATCH(scale_columns<T>(ctx, d, x, y))}

HESSCOPE_INSTANTIATE_SCALING(float) HESSCOPE_INSTANTIATE_SCALING(double)

}  // namespace hesscope::cpu
