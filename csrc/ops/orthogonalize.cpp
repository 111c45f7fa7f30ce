#include "hesscope/orthogonalize.h"

#include "kernels/orthogonalize_kernels.h"
#include "kernels/workspace.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {
namespace {

void check_operands(const char* op, const Context& ctx, const TensorView& q, const TensorView& w,
                    const TensorView& c) {
  check_batch(op, {"q", q});
  check_matrix(op, {"w", w});
  check_matrix(op, {"c", c});
  check_device(op, ctx, {{"q", q}, {"w", w}, {"c", c}});
  check_dtype(op, {"q", q}, {DType::bf16, DType::f32, DType::f64});
  check_dtype(op, {"w", w}, {DType::f32, DType::f64});
  check_dtype(op, {"c", c}, {DType::f64});
  HESSCOPE_CHECK(ShapeError, q.shape[0] == w.shape[0], op,
                 ": q must have one basis per row of w, got ", describe("q", q), " and ",
                 describe("w", w));
  HESSCOPE_CHECK(ShapeError, q.shape[2] == w.shape[1], op,
                 ": q must have as many columns as w, got ", describe("q", q), " and ",
                 describe("w", w));
  check_shape(op, {"c", c}, {q.shape[0], q.shape[1]});
}

}  // namespace

index_t multi_dot_workspace_bytes(index_t batch, index_t k, index_t n) {
  return aligned_bytes(num_slabs(n) * batch * k * static_cast<index_t>(sizeof(double)));
}

void multi_dot(const Context& ctx, const TensorView& q, const TensorView& w, const TensorView& c) {
  constexpr const char* op = "multi_dot";
  check_operands(op, ctx, q, w, c);
  check_output_matrix(op, {"c", c});
  check_workspace(op, ctx, multi_dot_workspace_bytes(q.shape[0], q.shape[1], q.shape[2]));
  if (q.shape[0] == 0 || q.shape[1] == 0) return;

  visit_storage(op, {"q", q}, [&]<typename Q>(Tag<Q>) {
    visit_real(op, {"w", w}, [&]<typename W>(Tag<W>) {
      HESSCOPE_DISPATCH(
          ctx, multi_dot<Q, W>(ctx, batch<const Q>(q), matrix<const W>(w), matrix<double>(c)));
    });
  });
}

void multi_axpy(const Context& ctx, const TensorView& q, const TensorView& c, const TensorView& w,
                double scale) {
  constexpr const char* op = "multi_axpy";
  check_operands(op, ctx, q, w, c);
  check_output_matrix(op, {"w", w});
  if (q.shape[0] == 0 || q.shape[1] == 0 || q.shape[2] == 0) return;

  visit_storage(op, {"q", q}, [&]<typename Q>(Tag<Q>) {
    visit_real(op, {"w", w}, [&]<typename W>(Tag<W>) {
      HESSCOPE_DISPATCH(ctx, multi_axpy<Q, W>(ctx, batch<const Q>(q), matrix<const double>(c),
                                              matrix<W>(w), scale));
    });
  });
}

}  // namespace hesscope
