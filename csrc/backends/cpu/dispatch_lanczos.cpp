#include "backends/cpu/dispatch.h"
#include "kernels/lanczos_kernels.h"

namespace hesscope::cpu {

template <typename T>
void lanczos_update(const Context& ctx, MatrixView<const T> w, MatrixView<const T> v,
                    MatrixView<const T> v_prev, MatrixView<T> next, MatrixView<double> state,
                    VectorView<double> alpha, VectorView<double> beta, double breakdown_tolerance){
    HESSCOPE_CPU_DISPATCH(lanczos_update<T>(ctx, w, v, v_prev, next, state, alpha, beta,
                                            breakdown_tolerance))}

HESSCOPE_INSTANTIATE_LANCZOS(float) HESSCOPE_INSTANTIATE_LANCZOS(double)

}  // namespace hesscope::cpu
