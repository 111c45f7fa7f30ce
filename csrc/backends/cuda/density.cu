#include "backends/cuda/launch.h"
#include "kernels/density_kernels.h"
#include "math/smoothing.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 128;

// out[b, g] = scale * sum_j weights[b, j] * term(grid[g], nodes[b, j]). A thread per grid point,
// which keeps the order of the nodes; the threads of a block read the same nodes, which one cache
// line serves. Bound by arithmetic: B * G * m terms of 30 to 100 operations in float64.
template <typename Term>
__global__ void __launch_bounds__(kThreads)
    smooth_kernel(MatrixView<const double> nodes,    // [B, m]
                  MatrixView<const double> weights,  // [B, m]
                  VectorView<const double> grid,     // [G]
                  unsigned chunks, double scale, Term term,
                  MatrixView<double> out  // [B, G]
    ) {
  const index_t b = blockIdx.x / chunks;
  const index_t g = index_t{blockIdx.x % chunks} * kThreads + threadIdx.x;
  if (g >= grid.size) return;
  const double x = grid.data[g * grid.stride];
  const double* node = nodes.data + b * nodes.ld;
  const double* weight = weights.data + b * weights.ld;
  double sum = 0;
  for (index_t j = 0; j < nodes.cols; ++j) sum += weight[j] * term(x, node[j]);
  out.data[b * out.ld + g] = scale * sum;
}

template <typename Term>
void smooth(const Context& ctx, MatrixView<const double> nodes, MatrixView<const double> weights,
            VectorView<const double> grid, double scale, MatrixView<double> out, Term term) {
  const ScopedDevice device(ctx.device);
  const index_t chunks = ceil_div(grid.size, kThreads);
  launch(smooth_kernel<Term>, make_grid(out.rows * chunks), kThreads, 0, stream_of(ctx), nodes,
         weights, grid, static_cast<unsigned>(chunks), scale, term, out);
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

}  // namespace hesscope::cuda
