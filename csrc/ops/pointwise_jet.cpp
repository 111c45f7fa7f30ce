#include "hesscope/pointwise_jet.h"

#include "kernels/pointwise_jet_kernels.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {
namespace {

using Maybe = std::optional<TensorView>;
using Names = const char* const[kMaxMonomials];
constexpr Names kX = {"x[0]", "x[1]", "x[2]"}, kG = {"g[0]", "g[1]", "g[2]"};
constexpr Names kOut = {"out[0]", "out[1]", "out[2]"};

/// The first of them that is there, with its name.
Named first_of(const char* op, std::span<const Maybe> x) {
  for (std::size_t k = 0; k < x.size(); ++k) {
    if (x[k].has_value()) return {kX[k], *x[k]};
  }
  fail<ValueError>(op, ": x must have a coefficient, got none");
}

void check_all(const char* op, const Context& ctx, std::span<const Maybe> tensors,
               const Names& names, Named first, std::initializer_list<index_t> shape) {
  for (std::size_t k = 0; k < tensors.size(); ++k) {
    if (tensors[k].has_value()) check_compact(op, ctx, {names[k], *tensors[k]}, first, shape);
  }
}

template <typename T>
T* pointer(const Maybe& t) {
  return t.has_value() ? static_cast<T*>(t->data) : nullptr;
}

}  // namespace

void pointwise_jet(const Context& ctx, Monomials monomials, const TensorView& taylor,
                   std::span<const Maybe> x, const Maybe& g_value, std::span<const Maybe> g,
                   std::span<const Maybe> out) {
  constexpr const char* op = "pointwise_jet";
  const auto count = static_cast<std::size_t>(count_of(monomials));
  HESSCOPE_CHECK(ValueError, x.size() == count && out.size() == count, op,
                 ": x and out must have an entry for each of ", count, " monomials, got ", x.size(),
                 " and ", out.size());
  HESSCOPE_CHECK(ValueError, g.size() == (g_value.has_value() ? count : 0), op,
                 ": g must have as many entries as x with g_value and none without, got ",
                 g.size());
  const Named first = first_of(op, x);
  HESSCOPE_CHECK(ShapeError, first.tensor.ndim == 2, op, ": ", first.name,
                 " must have 2 dimensions, got ", describe(first.name, first.tensor));
  const index_t probes = first.tensor.shape[0], size = first.tensor.shape[1];
  check_all(op, ctx, x, kX, first, {probes, size});
  check_all(op, ctx, g, kG, first, {probes, size});
  check_all(op, ctx, out, kOut, first, {probes, size});
  if (g_value.has_value()) check_compact(op, ctx, {"g_value", *g_value}, first, {size});
  check_matrix(op, {"taylor", taylor});
  check_shape(op, {"taylor", taylor}, {order_of(monomials) + 1, size});
  check_same_dtype(op, {first, {"taylor", taylor}});
  check_device(op, ctx, {first, {"taylor", taylor}});
  visit_real(op, first, [&]<typename T>(Tag<T>) {
    if (probes == 0 || size == 0) return;
    PointwiseJet<T> jet{.probes = probes,
                        .size = size,
                        .monomials = monomials,
                        .taylor = {},
                        .x = {},
                        .g_value = pointer<const T>(g_value),
                        .g = {},
                        .out = {}};
    for (index_t d = 0; d < taylor.shape[0]; ++d) jet.taylor[d] = matrix<const T>(taylor).row(d);
    for (std::size_t k = 0; k < count; ++k) {
      jet.x[k] = pointer<const T>(x[k]);
      jet.out[k] = pointer<T>(out[k]);
      if (g_value.has_value()) jet.g[k] = pointer<const T>(g[k]);
    }
    HESSCOPE_DISPATCH(ctx, pointwise_jet<T>(ctx, jet));
  });
}

}  // namespace hesscope
