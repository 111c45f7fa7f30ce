#include "hesscope/extend_basis.h"

#include "kernels/extend_basis_kernels.h"
#include "kernels/workspace.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {
namespace {

constexpr const char* kOp = "extend_basis";

void check_operands(const Context& ctx, const TensorView& q, const TensorView& v,
                    const TensorView& w, const TensorView& before, const TensorView& after,
                    const TensorView& d) {
  check_batch(kOp, {"q", q});
  check_output_matrix(kOp, {"v", v});
  check_matrix(kOp, {"w", w});
  check_matrix(kOp, {"before", before});
  check_matrix(kOp, {"after", after});
  check_output_matrix(kOp, {"d", d});
  check_device(kOp, ctx,
               {{"q", q}, {"v", v}, {"w", w}, {"before", before}, {"after", after}, {"d", d}});
  check_dtype(kOp, {"q", q}, {DType::f32, DType::f64});
  check_same_dtype(kOp, {{"q", q}, {"v", v}, {"w", w}});
  check_dtype(kOp, {"before", before}, {DType::f64});
  check_dtype(kOp, {"after", after}, {DType::f64});
  check_dtype(kOp, {"d", d}, {DType::f64});
  HESSCOPE_CHECK(ShapeError, q.shape[1] >= 1, kOp, ": q must have room for a row, got ",
                 describe("q", q));
  HESSCOPE_CHECK(ShapeError, q.shape[0] <= 1 || q.stride[0] > 0, kOp,
                 ": q must have one basis per row of v, for it is written, got a shared ",
                 describe("q", q));
  const index_t batch = q.shape[0], rows = q.shape[1], n = q.shape[2];
  check_shape(kOp, {"v", v}, {batch, n});
  check_shape(kOp, {"w", w}, {batch, n});
  check_shape(kOp, {"before", before}, {batch, rows});
  check_shape(kOp, {"after", after}, {batch, rows + 1});
  check_shape(kOp, {"d", d}, {batch, rows + 1});
}

}  // namespace

// Per slab one sum of each row; per task the chains that these are summed in.
index_t extend_basis_workspace_bytes(index_t batch, index_t rows, index_t n) {
  const index_t sums = batch * (rows + 1) * static_cast<index_t>(sizeof(double));
  return aligned_bytes(num_slabs(n) * sums) +
         aligned_bytes(num_slab_tasks(n) * sums * kExtendBasisChains);
}

void extend_basis(const Context& ctx, const TensorView& q, const TensorView& v, const TensorView& w,
                  const TensorView& before, const TensorView& after, const TensorView& d) {
  check_operands(ctx, q, v, w, before, after, d);
  check_workspace(kOp, ctx, extend_basis_workspace_bytes(q.shape[0], q.shape[1], q.shape[2]));
  if (q.shape[0] == 0 || q.shape[2] == 0) return;

  visit_real(kOp, {"q", q}, [&]<typename T>(Tag<T>) {
    HESSCOPE_DISPATCH(ctx, extend_basis<T>(ctx, batch<T>(q), matrix<T>(v), matrix<const T>(w),
                                           matrix<const double>(before),
                                           matrix<const double>(after), matrix<double>(d)));
  });
}

}  // namespace hesscope
