#include "backends/cpu/dispatch.h"
#include "kernels/density_kernels.h"

namespace hesscope::cpu {

void smoothed_density(const Context& ctx, MatrixView<const double> nodes,
                      MatrixView<const double> weights, VectorView<const double> grid, double sigma,
                      MatrixView<double> out) {
  HESSCOPE_CPU_DISPATCH(smoothed_density(ctx, nodes, weights, grid, sigma, out));
}

void smoothed_cdf(const Context& ctx, MatrixView<const double> nodes,
                  MatrixView<const double> weights, VectorView<const double> grid, double sigma,
                  MatrixView<double> out) {
  HESSCOPE_CPU_DISPATCH(smoothed_cdf(ctx, nodes, weights, grid, sigma, out));
}

}  // namespace hesscope::cpu
