#include "hesscope/contract3.h"

#include <cmath>

#include "kernels/contract3_kernels.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {
namespace {

void check_side(const char* op, const TensorView& x, const TensorView& t) {
  check_vector(op, {"t", t});
  const index_t k = x.shape[1];
  HESSCOPE_CHECK(ShapeError, k >= 1 && k <= kLargestTensorSide, op, ": the vectors must have 1 to ",
                 kLargestTensorSide, " entries, got ", k);
  HESSCOPE_CHECK(ShapeError, t.shape[0] == packed_tensor_size(k), op,
                 ": t must have k (k + 1) (k + 2) / 6 = ", packed_tensor_size(k),
                 " entries for vectors of k = ", k, ", got ", describe("t", t));
  HESSCOPE_CHECK(ShapeError, t.stride[0] == 1 || t.shape[0] == 1, op,
                 ": t must be contiguous, got stride ", t.stride[0]);
}

void check_contiguous(const char* op, Named argument, index_t size) {
  check_vector(op, argument);
  check_shape(op, argument, {size});
  HESSCOPE_CHECK(ShapeError, argument.tensor.stride[0] == 1 || size <= 1, op, ": ", argument.name,
                 " must be contiguous, got stride ", argument.tensor.stride[0]);
}

void check_all(const char* op, const Context& ctx, std::initializer_list<Named> tensors) {
  check_device(op, ctx, tensors);
  for (const Named& tensor : tensors) check_dtype(op, tensor, {DType::f64});
}

}  // namespace

void contract3(const Context& ctx, const TensorView& t, const TensorView& u, const TensorView& v,
               const TensorView& out) {
  constexpr const char* op = "contract3";
  check_matrix(op, {"u", u});
  check_matrix(op, {"v", v});
  check_output_matrix(op, {"out", out});
  check_side(op, u, t);
  check_shape(op, {"v", v}, {u.shape[0], u.shape[1]});
  check_shape(op, {"out", out}, {u.shape[0], u.shape[1]});
  check_all(op, ctx, {{"t", t}, {"u", u}, {"v", v}, {"out", out}});
  if (u.shape[0] == 0) return;
  HESSCOPE_DISPATCH(ctx, contract3(ctx, static_cast<const double*>(t.data), matrix<const double>(u),
                                   matrix<const double>(v), matrix<double>(out)));
}

void contract3_scalar(const Context& ctx, const TensorView& t, const TensorView& u,
                      const TensorView& v, const TensorView& w, const TensorView& out) {
  constexpr const char* op = "contract3_scalar";
  check_matrix(op, {"u", u});
  check_matrix(op, {"v", v});
  check_matrix(op, {"w", w});
  check_side(op, u, t);
  check_shape(op, {"v", v}, {u.shape[0], u.shape[1]});
  check_shape(op, {"w", w}, {u.shape[0], u.shape[1]});
  check_contiguous(op, {"out", out}, u.shape[0]);
  check_all(op, ctx, {{"t", t}, {"u", u}, {"v", v}, {"w", w}, {"out", out}});
  if (u.shape[0] == 0) return;
  HESSCOPE_DISPATCH(ctx, contract3_scalar(ctx, static_cast<const double*>(t.data),
                                          matrix<const double>(u), matrix<const double>(v),
                                          matrix<const double>(w), static_cast<double*>(out.data)));
}

void higher_order_power(const Context& ctx, const TensorView& t, const TensorView& x, double shift,
                        index_t num_steps, const TensorView& value, const TensorView& residual) {
  constexpr const char* op = "higher_order_power";
  check_output_matrix(op, {"x", x});
  check_side(op, x, t);
  check_contiguous(op, {"value", value}, x.shape[0]);
  check_contiguous(op, {"residual", residual}, x.shape[0]);
  check_all(op, ctx, {{"t", t}, {"x", x}, {"value", value}, {"residual", residual}});
  HESSCOPE_CHECK(ValueError, std::isfinite(shift), op, ": shift must be finite, got ", shift);
  HESSCOPE_CHECK(ValueError, num_steps >= 0, op, ": num_steps must not be negative, got ",
                 num_steps);
  if (x.shape[0] == 0) return;
  HESSCOPE_DISPATCH(
      ctx, higher_order_power(ctx, static_cast<const double*>(t.data), matrix<double>(x), shift,
                              num_steps, static_cast<double*>(value.data),
                              static_cast<double*>(residual.data)));
}

}  // namespace hesscope
