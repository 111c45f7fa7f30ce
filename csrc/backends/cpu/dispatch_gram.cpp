#include "backends/cpu/dispatch.h"
#include "kernels/gram_kernels.h"

namespace hesscope::cpu {

template <typename Q, typename W>
void gram(const Context& ctx, MatrixView<const Q> q, MatrixView<const W> w,
          MatrixView<double> out){HESSCOPE_CPU_DISPATCH(gram<Q, W>(ctx, q, w, out))}

HESSCOPE_FOR_EACH_GRAM_TYPE(HESSCOPE_INSTANTIATE_GRAM)

}  // namespace hesscope::cpu
