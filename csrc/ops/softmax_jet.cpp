#include "hesscope/softmax_jet.h"

#include "kernels/softmax_jet_kernels.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {
namespace {

using Names = const char* const[kMaxSoftmaxOrder];
constexpr Names kX = {"x[0]", "x[1]", "x[2]"}, kOut = {"out[0]", "out[1]", "out[2]"};

void check_rows(const char* op, Named argument) {
  const TensorView& t = argument.tensor;
  HESSCOPE_CHECK(ShapeError, t.ndim == 3, op, ": ", argument.name, " must have 3 dimensions, got ",
                 describe(argument.name, t));
  HESSCOPE_CHECK(ShapeError, t.shape[2] > 0, op, ": ", argument.name,
                 " must have at least one column, got ", describe(argument.name, t));
}

template <typename T>
const T* pointer(const std::optional<TensorView>& t) {
  return t.has_value() ? static_cast<const T*>(t->data) : nullptr;
}

}  // namespace

void softmax(const Context& ctx, const TensorView& x, const TensorView& p,
             const TensorView& log_sum) {
  constexpr const char* op = "softmax";
  check_matrix(op, {"x", x});
  check_output_matrix(op, {"p", p});
  check_output_matrix(op, {"log_sum", log_sum});
  check_device(op, ctx, {{"x", x}, {"p", p}, {"log_sum", log_sum}});
  check_dtype(op, {"x", x}, {DType::f32, DType::f64});
  check_same_dtype(op, {{"x", x}, {"p", p}, {"log_sum", log_sum}});
  HESSCOPE_CHECK(ShapeError, x.shape[1] >= 1, op, ": x must have at least one column, got ",
                 describe("x", x));
  check_shape(op, {"p", p}, {x.shape[0], x.shape[1]});
  check_shape(op, {"log_sum", log_sum}, {x.shape[0], 1});
  if (x.shape[0] == 0) return;
  visit_real(op, {"x", x}, [&]<typename T>(Tag<T>) {
    HESSCOPE_DISPATCH(ctx, softmax<T>(ctx, matrix<const T>(x), matrix<T>(p), matrix<T>(log_sum)));
  });
}

void softmax_jet(const Context& ctx, std::span<const TensorView> x, const TensorView& p,
                 const std::optional<TensorView>& w, bool logarithm,
                 std::span<const TensorView> out) {
  constexpr const char* op = "softmax_jet";
  HESSCOPE_CHECK(ValueError, !x.empty() && x.size() <= kMaxSoftmaxOrder, op, ": x must have 1 to ",
                 kMaxSoftmaxOrder, " coefficients, got ", x.size());
  HESSCOPE_CHECK(ValueError, out.size() == x.size(), op, ": out must be as many as x, got ",
                 out.size(), " and ", x.size());
  const Named first{kX[0], x[0]};
  check_rows(op, first);
  const index_t probes = x[0].shape[0], rows = x[0].shape[1], cols = x[0].shape[2];
  for (std::size_t k = 0; k < x.size(); ++k) {
    check_compact(op, ctx, {kX[k], x[k]}, first, {probes, rows, cols});
    check_compact(op, ctx, {kOut[k], out[k]}, first, {probes, rows, cols});
  }
  check_compact(op, ctx, {"p", p}, first, {rows, cols});
  if (w.has_value()) check_compact(op, ctx, {"w", *w}, first, {rows});
  visit_real(op, first, [&]<typename T>(Tag<T>) {
    if (probes == 0 || rows == 0) return;
    SoftmaxJet<T> jet{.probes = probes,
                      .rows = rows,
                      .cols = cols,
                      .order = static_cast<int>(x.size()),
                      .logarithm = logarithm,
                      .x = {},
                      .p = static_cast<const T*>(p.data),
                      .w = pointer<T>(w),
                      .out = {}};
    for (std::size_t k = 0; k < x.size(); ++k) {
      jet.x[k] = static_cast<const T*>(x[k].data);
      jet.out[k] = static_cast<T*>(out[k].data);
    }
    HESSCOPE_DISPATCH(ctx, softmax_jet<T>(ctx, jet));
  });
}

void softmax_jet_backward(const Context& ctx, const std::optional<TensorView>& dg,
                          const std::optional<TensorView>& dp, const TensorView& g,
                          const TensorView& p, const TensorView& along, const TensorView& out) {
  constexpr const char* op = "softmax_jet_backward";
  HESSCOPE_CHECK(ValueError, dg.has_value() || dp.has_value(), op,
                 ": dg or dp must be given, got none of them");
  const Named first{"out", out};
  check_rows(op, first);
  const index_t probes = out.shape[0], rows = out.shape[1], cols = out.shape[2];
  check_compact(op, ctx, first, first, {probes, rows, cols});
  if (dg.has_value()) check_compact(op, ctx, {"dg", *dg}, first, {probes, rows, cols});
  if (dp.has_value()) check_compact(op, ctx, {"dp", *dp}, first, {probes, rows, cols});
  check_compact(op, ctx, {"g", g}, first, {rows, cols});
  check_compact(op, ctx, {"p", p}, first, {rows, cols});
  check_compact(op, ctx, {"along", along}, first, {rows});
  visit_real(op, first, [&]<typename T>(Tag<T>) {
    if (probes == 0 || rows == 0) return;
    const SoftmaxJetBackward<T> jet{.probes = probes,
                                    .rows = rows,
                                    .cols = cols,
                                    .dg = pointer<T>(dg),
                                    .dp = pointer<T>(dp),
                                    .g = static_cast<const T*>(g.data),
                                    .p = static_cast<const T*>(p.data),
                                    .along = static_cast<const T*>(along.data),
                                    .out = static_cast<T*>(out.data)};
    HESSCOPE_DISPATCH(ctx, softmax_jet_backward<T>(ctx, jet));
  });
}

}  // namespace hesscope
