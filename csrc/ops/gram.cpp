#include "hesscope/gram.h"

#include "kernels/gram_kernels.h"
#include "kernels/workspace.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {

index_t gram_workspace_bytes(index_t k, index_t b, index_t n) {
  return aligned_bytes(num_gram_panels(n) * k * b * static_cast<index_t>(sizeof(double)));
}

void gram(const Context& ctx, const TensorView& q, const TensorView& w, const TensorView& out) {
  constexpr const char* op = "gram";
  check_matrix(op, {"q", q});
  check_matrix(op, {"w", w});
  check_output_matrix(op, {"out", out});
  check_device(op, ctx, {{"q", q}, {"w", w}, {"out", out}});
  check_dtype(op, {"q", q}, {DType::bf16, DType::f32, DType::f64});
  check_dtype(op, {"w", w}, {DType::bf16, DType::f32, DType::f64});
  check_dtype(op, {"out", out}, {DType::f64});
  HESSCOPE_CHECK(ShapeError, q.shape[1] == w.shape[1], op,
                 ": q must have as many columns as w, got ", describe("q", q), " and ",
                 describe("w", w));
  check_shape(op, {"out", out}, {q.shape[0], w.shape[0]});
  check_workspace(op, ctx, gram_workspace_bytes(q.shape[0], w.shape[0], q.shape[1]));
  if (q.shape[0] == 0 || w.shape[0] == 0) return;

  visit_storage(op, {"q", q}, [&]<typename Q>(Tag<Q>) {
    visit_storage(op, {"w", w}, [&]<typename W>(Tag<W>) {
      HESSCOPE_DISPATCH(
          ctx, gram<Q, W>(ctx, matrix<const Q>(q), matrix<const W>(w), matrix<double>(out)));
    });
  });
}

}  // namespace hesscope
