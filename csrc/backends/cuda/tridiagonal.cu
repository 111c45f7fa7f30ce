#include "backends/cuda/launch.h"
#include "kernels/tridiagonal_kernels.h"
#include "kernels/workspace.h"
#include "math/tridiagonal.h"
#include "math/tridiagonal_ql.h"

namespace hesscope::cuda {
namespace {

constexpr int kPoints = 128;  // threads of a block of sturm_count

// One thread, and a block of its own, per matrix: QL is one chain of rotations, and two matrices in
// a warp would wait for each other at every deflation. Latency bound; a matrix is 5 m float64, in
// L1.
__global__ void tridiagonal_eigen_kernel(MatrixView<const double> alpha,  // [B, m]
                                         MatrixView<const double> beta,   // [B, m]
                                         MatrixView<double> nodes,        // [B, m]
                                         MatrixView<double> first,        // [B, m]
                                         MatrixView<double> last,         // [B, m]
                                         double* scratch                  // [B, m]
) {
  const index_t b = blockIdx.x;
  tridiagonal_ql(alpha.data + b * alpha.ld, beta.data + b * beta.ld, alpha.cols,
                 nodes.data + b * nodes.ld, first.data + b * first.ld, last.data + b * last.ld,
                 scratch + b * alpha.cols);
}

// One thread per matrix and point; the threads of a block read one matrix, which is broadcast.
// Latency bound: m divisions in a chain.
__global__ void __launch_bounds__(kPoints)
    sturm_count_kernel(MatrixView<const double> alpha,   // [B, m]
                       MatrixView<const double> beta,    // [B, m]
                       VectorView<const double> x,       // [P], any stride
                       MatrixView<std::int64_t> counts,  // [B, P]
                       unsigned blocks) {
  const index_t b = blockIdx.x / blocks, p = index_t{blockIdx.x % blocks} * kPoints + threadIdx.x;
  if (p >= x.size) return;
  const double at = x.data[p * x.stride];
  const double *diagonal = alpha.data + b * alpha.ld, *coupling = beta.data + b * beta.ld;
  const index_t order = tridiagonal_order(coupling, alpha.cols);
  double pivot = 1.0;
  std::int64_t count = 0;
  for (index_t i = 0; i < order; ++i) {
    pivot = sturm_pivot(diagonal[i], i == 0 ? 0.0 : coupling[i - 1], at, pivot);
    count += pivot < 0.0 ? 1 : 0;
  }
  counts.data[b * counts.ld + p] = pivot == pivot ? count : -1;  // a NaN stays to the last pivot
}

}  // namespace

void tridiagonal_eigen(const Context& ctx, MatrixView<const double> alpha,
                       MatrixView<const double> beta, MatrixView<double> nodes,
                       MatrixView<double> first, MatrixView<double> last) {
  const ScopedDevice device(ctx.device);
  auto workspace = ctx.workspace;
  double* scratch = carve<double>(workspace, alpha.rows * alpha.cols);
  launch(tridiagonal_eigen_kernel, make_grid(alpha.rows), 1, 0, stream_of(ctx), alpha, beta, nodes,
         first, last, scratch);
}

void sturm_count(const Context& ctx, MatrixView<const double> alpha, MatrixView<const double> beta,
                 VectorView<const double> x, MatrixView<std::int64_t> counts) {
  const ScopedDevice device(ctx.device);
  const index_t blocks = ceil_div(x.size, kPoints);
  launch(sturm_count_kernel, make_grid(blocks * alpha.rows), kPoints, 0, stream_of(ctx), alpha,
         beta, x, counts, static_cast<unsigned>(blocks));
}

}  // namespace hesscope::cuda
