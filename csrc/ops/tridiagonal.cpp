#include "hesscope/tridiagonal.h"

#include "kernels/tridiagonal_kernels.h"
#include "kernels/workspace.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {
namespace {

void check_tridiagonal(const char* op, const TensorView& alpha, const TensorView& beta) {
  check_matrix(op, {"alpha", alpha});
  check_matrix(op, {"beta", beta});
  check_dtype(op, {"alpha", alpha}, {DType::f64});
  check_dtype(op, {"beta", beta}, {DType::f64});
  check_shape(op, {"beta", beta}, {alpha.shape[0], alpha.shape[1]});
  HESSCOPE_CHECK(ShapeError, alpha.shape[1] >= 1, op, ": alpha must have at least one column, got ",
                 describe("alpha", alpha));
}

}  // namespace

index_t tridiagonal_eigen_workspace_bytes(index_t batch, index_t m) {
  return aligned_bytes(batch * m * static_cast<index_t>(sizeof(double)));
}

void tridiagonal_eigen(const Context& ctx, const TensorView& alpha, const TensorView& beta,
                       const TensorView& nodes, const TensorView& first, const TensorView& last) {
  constexpr const char* op = "tridiagonal_eigen";
  check_tridiagonal(op, alpha, beta);
  check_device(
      op, ctx,
      {{"alpha", alpha}, {"beta", beta}, {"nodes", nodes}, {"first", first}, {"last", last}});
  for (const Named& output : {Named{"nodes", nodes}, Named{"first", first}, Named{"last", last}}) {
    check_output_matrix(op, output);
    check_dtype(op, output, {DType::f64});
    check_shape(op, output, {alpha.shape[0], alpha.shape[1]});
  }
  check_workspace(op, ctx, tridiagonal_eigen_workspace_bytes(alpha.shape[0], alpha.shape[1]));
  if (alpha.shape[0] == 0) return;
  HESSCOPE_DISPATCH(
      ctx, tridiagonal_eigen(ctx, matrix<const double>(alpha), matrix<const double>(beta),
                             matrix<double>(nodes), matrix<double>(first), matrix<double>(last)));
}

void sturm_count(const Context& ctx, const TensorView& alpha, const TensorView& beta,
                 const TensorView& x, const TensorView& counts) {
  constexpr const char* op = "sturm_count";
  check_tridiagonal(op, alpha, beta);
  check_vector(op, {"x", x});
  check_output_matrix(op, {"counts", counts});
  check_device(op, ctx, {{"alpha", alpha}, {"beta", beta}, {"x", x}, {"counts", counts}});
  check_dtype(op, {"x", x}, {DType::f64});
  check_dtype(op, {"counts", counts}, {DType::i64});
  check_shape(op, {"counts", counts}, {alpha.shape[0], x.shape[0]});
  if (alpha.shape[0] == 0 || x.shape[0] == 0) return;
  HESSCOPE_DISPATCH(ctx, sturm_count(ctx, matrix<const double>(alpha), matrix<const double>(beta),
                                     vector<const double>(x), matrix<std::int64_t>(counts)));
}

}  // namespace hesscope
