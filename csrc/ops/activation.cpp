#include "hesscope/activation.h"

#include <array>

#include "kernels/activation_kernels.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {
namespace {

constexpr std::array<std::string_view, 18> kNames = {
    "identity", "relu", "tanh", "sigmoid", "gelu", "gelu_tanh", "silu",  "softplus",   "elu",
    "exp",      "log",  "erf",  "sin",     "cos",  "sqrt",      "rsqrt", "reciprocal", "square"};

}  // namespace

std::string_view name_of(Activation activation) {
  return kNames[static_cast<std::size_t>(activation)];
}

Activation activation_of(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<Activation>(i);
  }
  std::ostringstream names;
  for (const std::string_view known : kNames) names << (known == kNames[0] ? "" : ", ") << known;
  fail<ValueError>("the activation must be one of ", names.str(), "; got ", name);
}

void activation_derivatives(const Context& ctx, Activation f, const TensorView& x,
                            const TensorView& out) {
  constexpr const char* op = "activation_derivatives";
  check_matrix(op, {"x", x});
  check_batch(op, {"out", out});
  check_device(op, ctx, {{"x", x}, {"out", out}});
  check_dtype(op, {"x", x}, {DType::f32, DType::f64});
  check_same_dtype(op, {{"x", x}, {"out", out}});
  HESSCOPE_CHECK(ShapeError, out.shape[0] >= 1 && out.shape[0] <= 4, op,
                 ": out must hold 1 to 4 derivatives, got ", describe("out", out));
  check_shape(op, {"out", out}, {out.shape[0], x.shape[0], x.shape[1]});
  for (index_t d = 0; d < 2; ++d) {
    HESSCOPE_CHECK(ShapeError, out.shape[d] <= 1 || out.stride[d] >= out.shape[2], op,
                   ": rows of out must not overlap, got ", describe("out", out));
  }
  if (x.shape[0] == 0 || x.shape[1] == 0) return;
  visit_real(op, {"x", x}, [&]<typename T>(Tag<T>) {
    HESSCOPE_DISPATCH(ctx, activation_derivatives<T>(ctx, f, matrix<const T>(x), batch<T>(out)));
  });
}

}  // namespace hesscope
