#include "backends/cpu/dispatch.h"
#include "kernels/activation_kernels.h"

namespace hesscope::cpu {

template <typename T>
void activation_derivatives(const Context& ctx, Activation f, MatrixView<const T> x,
                            BatchView<T> out){
    HESSCOPE_CPU_DISPATCH(activation_derivatives<T>(ctx, f, x, out))}

HESSCOPE_INSTANTIATE_ACTIVATION(float) HESSCOPE_INSTANTIATE_ACTIVATION(double)

}  // namespace hesscope::cpu
