#include "backends/cpu/dispatch.h"
#include "kernels/activation_kernels.h"

namespace hesscope::cpu {

template <typename T>
void activation_derivatives(const Context& ctx, Activation f, MatrixView<const T> x,
                            BatchView<T> out) {
  HESSCOPE_CPU_DISPATCH(activation_derivatives<T>(ctx, f, x, out))
}

template <typename T>
void softmax(const Context& ctx, MatrixView<const T> x, MatrixView<T> p,
             MatrixView<T> log_sum){HESSCOPE_CPU_DISPATCH(softmax<T>(ctx, x, p, log_sum))}

HESSCOPE_INSTANTIATE_ACTIVATION(float) HESSCOPE_INSTANTIATE_ACTIVATION(double)

}  // namespace hesscope::cpu
