#include "hesscope/scaling.h"

#include "kernels/scaling_kernels.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {

void scale_columns(const Context& ctx, const TensorView& d, const TensorView& x,
                   const TensorView& y) {
  constexpr const char* op = "scale_columns";
  check_vector(op, {"d", d});
  check_matrix(op, {"x", x});
  check_output_matrix(op, {"y", y});
  check_device(op, ctx, {{"d", d}, {"x", x}, {"y", y}});
  check_same_dtype(op, {{"d", d}, {"x", x}, {"y", y}});
  check_shape(op, {"d", d}, {x.shape[1]});
  check_shape(op, {"y", y}, {x.shape[0], x.shape[1]});
  HESSCOPE_CHECK(ShapeError, d.shape[0] <= 1 || d.stride[0] == 1, op,
                 ": d must be contiguous, got ", describe("d", d), " with stride ", d.stride[0]);
  visit_real(op, {"x", x}, [&]<typename T>(Tag<T>) {
    if (x.shape[0] == 0 || x.shape[1] == 0) return;
    HESSCOPE_DISPATCH(ctx,
                      scale_columns<T>(ctx, vector<const T>(d), matrix<const T>(x), matrix<T>(y)));
  });
}

}  // namespace hesscope
