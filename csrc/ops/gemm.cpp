#include "hesscope/gemm.h"

#include <cmath>

#include "kernels/gemm_kernels.h"
#include "kernels/workspace.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {
namespace {

constexpr const char* kOp = "gemm";

void check_operand(Named argument) {
  const TensorView& t = argument.tensor;
  HESSCOPE_CHECK(ShapeError, t.ndim == 3, kOp, ": ", argument.name, " must have 3 dimensions, got ",
                 describe(argument.name, t));
}

void check_operands(const Context& ctx, const TensorView& a, const TensorView& x,
                    const TensorView& c) {
  check_operand({"a", a});
  check_operand({"x", x});
  check_batch(kOp, {"c", c});
  check_device(kOp, ctx, {{"a", a}, {"x", x}, {"c", c}});
  check_dtype(kOp, {"a", a}, {DType::f32, DType::f64});
  check_same_dtype(kOp, {{"a", a}, {"x", x}, {"c", c}});
  HESSCOPE_CHECK(ShapeError, a.shape[0] == x.shape[0], kOp,
                 ": x must have as many matrices as a, got ", describe("a", a), " and ",
                 describe("x", x));
  HESSCOPE_CHECK(ShapeError, a.shape[2] == x.shape[1], kOp,
                 ": x must have as many rows as a has columns, got ", describe("a", a), " and ",
                 describe("x", x));
  check_shape(kOp, {"c", c}, {a.shape[0], a.shape[1], x.shape[2]});
  const bool rows_apart = c.shape[1] <= 1 || c.stride[1] >= c.shape[2];
  const index_t extent = c.shape[1] == 0 ? 0 : (c.shape[1] - 1) * c.stride[1] + c.shape[2];
  const bool matrices_apart = c.shape[0] <= 1 || c.stride[0] >= extent || c.stride[0] >= c.shape[2];
  HESSCOPE_CHECK(ShapeError, rows_apart && matrices_apart, kOp,
                 ": rows of c must not overlap, got ", describe("c", c), " with strides [",
                 c.stride[0], ", ", c.stride[1], ", ", c.stride[2], ']');
}

template <typename T>
GemmOperand<T> operand(const TensorView& t) {
  return {.data = static_cast<const T*>(t.data),
          .rows = t.shape[1],
          .cols = t.shape[2],
          .batch_stride = t.stride[0],
          .row_stride = t.stride[1],
          .col_stride = t.stride[2]};
}

}  // namespace

index_t gemm_workspace_bytes(index_t m, index_t n, index_t k, DType dtype) {
  const index_t depth = k < kGemmDepth ? k : kGemmDepth;
  const index_t panels = gemm_packed(m, kGemmRows) + gemm_packed(n, kGemmColumns);
  return aligned_bytes(panels * depth * size_of(dtype) + kGemmAlignment);
}

void gemm(const Context& ctx, double alpha, const TensorView& a, const TensorView& x, double beta,
          const TensorView& c) {
  check_operands(ctx, a, x, c);
  HESSCOPE_CHECK(ValueError, std::isfinite(alpha) && std::isfinite(beta), kOp,
                 ": alpha and beta must be finite, got ", alpha, " and ", beta);
  check_workspace(kOp, ctx, gemm_workspace_bytes(c.shape[1], c.shape[2], a.shape[2], a.dtype));
  if (c.shape[0] == 0 || c.shape[1] == 0 || c.shape[2] == 0) return;
  visit_real(kOp, {"a", a}, [&]<typename T>(Tag<T>) {
    HESSCOPE_DISPATCH(ctx, gemm<T>(ctx, static_cast<T>(alpha), operand<T>(a), operand<T>(x),
                                   static_cast<T>(beta), batch<T>(c)));
  });
}

}  // namespace hesscope
