#include <algorithm>

#include "backends/cpu/parallel.h"
#include "kernels/density_kernels.h"
#include "math/smoothing.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

// Grid points summed side by side: each sum keeps the order of the nodes, and the loop vectorises.
constexpr index_t kStrip = 128;

/// out[b, g] = scale * sum_j weights[b, j] * term(grid[g], nodes[b, j])
template <typename Term>
void smooth(const Context& ctx, MatrixView<const double> nodes, MatrixView<const double> weights,
            VectorView<const double> grid, double scale, MatrixView<double> out, Term term) {
  const index_t strips = ceil_div(grid.size, kStrip);
  cpu::parallel_for(ctx.num_threads, out.rows * strips, [&](index_t task) {
    const index_t b = task / strips, begin = task % strips * kStrip;
    const index_t count = std::min(kStrip, grid.size - begin);
    double x[kStrip], sum[kStrip];
    for (index_t g = 0; g < count; ++g) {
      x[g] = grid[begin + g];
      sum[g] = 0;
    }
    for (index_t j = 0; j < nodes.cols; ++j) {
      const double node = nodes.row(b)[j], weight = weights.row(b)[j];
      for (index_t g = 0; g < count; ++g) sum[g] += weight * term(x[g], node);
    }
    for (index_t g = 0; g < count; ++g) out.row(b)[begin + g] = scale * sum[g];
  });
}

}  // namespace

void smoothed_density(const Context& ctx, MatrixView<const double> nodes,
                      MatrixView<const double> weights, VectorView<const double> grid, double sigma,
                      MatrixView<double> out) {
  smooth(ctx, nodes, weights, grid, kInverseSqrtTwoPi / sigma, out, DensityTerm{1 / sigma});
}

void smoothed_cdf(const Context& ctx, MatrixView<const double> nodes,
                  MatrixView<const double> weights, VectorView<const double> grid, double sigma,
                  MatrixView<double> out) {
  if (sigma == 0) {
    smooth(ctx, nodes, weights, grid, 1.0, out, StepTerm{});
  } else {
    smooth(ctx, nodes, weights, grid, 1.0, out, CdfTerm{1 / sigma});
  }
}

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
