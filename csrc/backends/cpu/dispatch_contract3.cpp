#include "backends/cpu/dispatch.h"
#include "kernels/contract3_kernels.h"

namespace hesscope::cpu {

void contract3(const Context& ctx, const double* t, MatrixView<const double> u,
               MatrixView<const double> v, MatrixView<double> out) {
  HESSCOPE_CPU_DISPATCH(contract3(ctx, t, u, v, out))
}

void contract3_scalar(const Context& ctx, const double* t, MatrixView<const double> u,
                      MatrixView<const double> v, MatrixView<const double> w, double* out) {
  HESSCOPE_CPU_DISPATCH(contract3_scalar(ctx, t, u, v, w, out))
}

void higher_order_power(const Context& ctx, const double* t, MatrixView<double> x, double shift,
                        index_t num_steps, double* value, double* residual) {
  HESSCOPE_CPU_DISPATCH(higher_order_power(ctx, t, x, shift, num_steps, value, residual))
}

}  // namespace hesscope::cpu
