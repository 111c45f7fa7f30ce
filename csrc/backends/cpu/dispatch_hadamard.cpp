#include "backends/cpu/dispatch.h"
#include "kernels/hadamard_kernels.h"

namespace hesscope::cpu {

template <typename T>
void walsh_hadamard(const Context& ctx, MatrixView<T> x,
                    T scale){HESSCOPE_CPU_DISPATCH(walsh_hadamard<T>(ctx, x, scale))}

HESSCOPE_INSTANTIATE_HADAMARD(float) HESSCOPE_INSTANTIATE_HADAMARD(double)

}  // namespace hesscope::cpu
