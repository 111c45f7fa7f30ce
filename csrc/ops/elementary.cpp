#include "hesscope/elementary.h"

#include "kernels/elementary_kernels.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {

void elementary_map(const Context& ctx, ElementaryFunction function, const TensorView& x,
                    const TensorView& out) {
  constexpr const char* op = "elementary_map";
  check_vector(op, {"x", x});
  check_vector(op, {"out", out});
  check_device(op, ctx, {{"x", x}, {"out", out}});
  check_dtype(op, {"x", x}, {DType::f64});
  check_dtype(op, {"out", out}, {DType::f64});
  check_shape(op, {"out", out}, {x.shape[0]});
  if (x.shape[0] == 0) return;
  HESSCOPE_DISPATCH(ctx,
                    elementary_map(ctx, function, vector<const double>(x), vector<double>(out)));
}

}  // namespace hesscope
