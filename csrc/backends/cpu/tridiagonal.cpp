#include "math/tridiagonal.h"

#include "backends/cpu/parallel.h"
#include "kernels/slab.h"
#include "kernels/tridiagonal_kernels.h"
#include "kernels/workspace.h"
#include "math/tridiagonal_ql.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {

void tridiagonal_eigen(const Context& ctx, MatrixView<const double> alpha,
                       MatrixView<const double> beta, MatrixView<double> nodes,
                       MatrixView<double> first, MatrixView<double> last) {
  const index_t m = alpha.cols;
  auto workspace = ctx.workspace;
  double* scratch = carve<double>(workspace, alpha.rows * m);  // [B, m]
  cpu::parallel_for(ctx.num_threads, alpha.rows, [&](index_t b) {
    tridiagonal_ql(alpha.row(b), beta.row(b), m, nodes.row(b), first.row(b), last.row(b),
                   scratch + b * m);
  });
}

// Points of one task: side by side in vector registers, since one point is a chain of divisions.
constexpr index_t kPoints = 16;

namespace {

void count_below(const double* alpha,  // [order]
                 const double* beta,   // [order]
                 index_t order, VectorView<const double> x, index_t begin,
                 std::int64_t* counts  // [P]
) {
  const index_t points = x.size - begin < kPoints ? x.size - begin : kPoints;
  double at[kPoints], pivot[kPoints];
  std::int64_t count[kPoints] = {};
  for (index_t p = 0; p < kPoints; ++p) {
    at[p] = x[begin + (p < points ? p : 0)];
    pivot[p] = 1.0;
  }
  for (index_t i = 0; i < order; ++i) {
    const double coupling = i == 0 ? 0.0 : beta[i - 1];
    for (index_t p = 0; p < kPoints; ++p) {
      pivot[p] = sturm_pivot(alpha[i], coupling, at[p], pivot[p]);
      count[p] += pivot[p] < 0.0 ? 1 : 0;
    }
  }
  for (index_t p = 0; p < points; ++p) {
    counts[begin + p] = pivot[p] == pivot[p] ? count[p] : -1;  // a NaN stays to the last pivot
  }
}

}  // namespace

void sturm_count(const Context& ctx, MatrixView<const double> alpha, MatrixView<const double> beta,
                 VectorView<const double> x, MatrixView<std::int64_t> counts) {
  const index_t blocks = ceil_div(x.size, kPoints);
  cpu::parallel_for(ctx.num_threads, alpha.rows * blocks, [&](index_t task) {
    const index_t b = task / blocks, begin = task % blocks * kPoints;
    const index_t order = tridiagonal_order(beta.row(b), alpha.cols);
    count_below(alpha.row(b), beta.row(b), order, x, begin, counts.row(b));
  });
}

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
