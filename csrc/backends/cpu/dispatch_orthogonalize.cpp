#include "backends/cpu/dispatch.h"
#include "kernels/orthogonalize_kernels.h"

namespace hesscope::cpu {

template <typename Q, typename W>
void multi_dot(const Context& ctx, BatchView<const Q> q, MatrixView<const W> w,
               MatrixView<double> c) {
  HESSCOPE_CPU_DISPATCH(multi_dot<Q, W>(ctx, q, w, c))
}

template <typename Q, typename W>
void multi_axpy(const Context& ctx, BatchView<const Q> q, MatrixView<const double> c,
                MatrixView<W> w,
                double scale){HESSCOPE_CPU_DISPATCH(multi_axpy<Q, W>(ctx, q, c, w, scale))}

HESSCOPE_FOR_EACH_BASIS_TYPE(HESSCOPE_INSTANTIATE_ORTHOGONALIZE)

}  // namespace hesscope::cpu
