#include "backends/cpu/dispatch.h"
#include "kernels/tridiagonal_kernels.h"

namespace hesscope::cpu {

void tridiagonal_eigen(const Context& ctx, MatrixView<const double> alpha,
                       MatrixView<const double> beta, MatrixView<double> nodes,
                       MatrixView<double> first, MatrixView<double> last) {
  HESSCOPE_CPU_DISPATCH(tridiagonal_eigen(ctx, alpha, beta, nodes, first, last))
}

void sturm_count(const Context& ctx, MatrixView<const double> alpha, MatrixView<const double> beta,
                 VectorView<const double> x, MatrixView<std::int64_t> counts) {
  HESSCOPE_CPU_DISPATCH(sturm_count(ctx, alpha, beta, x, counts))
}

}  // namespace hesscope::cpu
