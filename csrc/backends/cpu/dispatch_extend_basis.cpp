#include "backends/cpu/dispatch.h"
#include "kernels/extend_basis_kernels.h"

namespace hesscope::cpu {

template <typename T>
void extend_basis(const Context& ctx, BatchView<T> q, MatrixView<T> v, MatrixView<const T> w,
                  MatrixView<const double> before, MatrixView<const double> after,
                  MatrixView<double> d) {
  HESSCOPE_CPU_DISPATCH(extend_basis<T>(ctx, q, v, w, before, after, d));
}

HESSCOPE_INSTANTIATE_EXTEND_BASIS(float)
HESSCOPE_INSTANTIATE_EXTEND_BASIS(double)

}  // namespace hesscope::cpu
