#include "hesscope/hadamard.h"

#include <bit>
#include <cstdint>

#include "kernels/hadamard_kernels.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {

void walsh_hadamard(const Context& ctx, const TensorView& x, double scale) {
  constexpr const char* op = "walsh_hadamard";
  check_output_matrix(op, {"x", x});
  check_device(op, ctx, {{"x", x}});
  check_dtype(op, {"x", x}, {DType::f32, DType::f64});
  HESSCOPE_CHECK(ShapeError, std::has_single_bit(static_cast<std::uint64_t>(x.shape[1])), op,
                 ": x must have a power of two of columns, got ", describe("x", x));
  if (x.shape[0] == 0) return;

  visit_real(op, {"x", x}, [&]<typename T>(Tag<T>) {
    HESSCOPE_DISPATCH(ctx, walsh_hadamard<T>(ctx, matrix<T>(x), static_cast<T>(scale)));
  });
}

}  // namespace hesscope
