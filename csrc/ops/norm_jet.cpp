#include "hesscope/norm_jet.h"

#include "kernels/norm_jet_kernels.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {
namespace {

using Names = const char* const[kMaxNormOrder];
constexpr Names kX = {"x[0]", "x[1]", "x[2]"}, kOut = {"out[0]", "out[1]", "out[2]"};
constexpr Names kMean = {"mean_out[0]", "mean_out[1]", "mean_out[2]"};
constexpr Names kRstd = {"rstd_out[0]", "rstd_out[1]", "rstd_out[2]"};

NormShape shape_of(const char* op, const TensorView& t, const char* name) {
  HESSCOPE_CHECK(ShapeError, t.ndim == 4, op, ": ", name, " must have 4 dimensions, got ",
                 describe(name, t));
  const NormShape s{t.shape[0], t.shape[1], t.shape[2], t.shape[3]};
  HESSCOPE_CHECK(ShapeError, s.size() > 0, op, ": ", name,
                 " must have elements in every group, got ", describe(name, t));
  return s;
}

void check_outputs(const char* op, const Context& ctx, std::span<const TensorView> outputs,
                   const Names& names, Named x, std::size_t order,
                   std::initializer_list<index_t> shape) {
  HESSCOPE_CHECK(ValueError, outputs.empty() || outputs.size() == order, op, ": ", names[0],
                 " and the like must be none or as many as x, got ", outputs.size(), " and ",
                 order);
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    check_compact(op, ctx, {names[k], outputs[k]}, x, shape);
  }
}

template <typename T>
T* pointer(const std::optional<TensorView>& t) {
  return t.has_value() ? static_cast<T*>(t->data) : nullptr;
}

template <typename T>
T* pointer(std::span<const TensorView> tensors, std::size_t k) {
  return k < tensors.size() ? static_cast<T*>(tensors[k].data) : nullptr;
}

}  // namespace

void norm_jet(const Context& ctx, std::span<const TensorView> x, const TensorView& y,
              const TensorView& rstd, bool centred, std::span<const TensorView> out,
              std::span<const TensorView> mean_out, std::span<const TensorView> rstd_out) {
  constexpr const char* op = "norm_jet";
  HESSCOPE_CHECK(ValueError, !x.empty() && x.size() <= kMaxNormOrder, op, ": x must have 1 to ",
                 kMaxNormOrder, " coefficients, got ", x.size());
  const NormShape s = shape_of(op, x[0], kX[0]);
  const Named first{kX[0], x[0]};
  for (std::size_t k = 0; k < x.size(); ++k) {
    check_compact(op, ctx, {kX[k], x[k]}, first, {s.probes, s.outer, s.groups, s.inner});
  }
  check_compact(op, ctx, {"y", y}, first, {s.outer, s.groups, s.inner});
  check_compact(op, ctx, {"rstd", rstd}, first, {s.groups});
  check_outputs(op, ctx, out, kOut, first, x.size(), {s.probes, s.outer, s.groups, s.inner});
  check_outputs(op, ctx, mean_out, kMean, first, x.size(), {s.probes, s.groups});
  check_outputs(op, ctx, rstd_out, kRstd, first, x.size(), {s.probes, s.groups});
  visit_real(op, first, [&]<typename T>(Tag<T>) {
    if (s.probes == 0 || s.groups == 0) return;
    NormJet<T> jet{.shape = s,
                   .order = static_cast<int>(x.size()),
                   .centred = centred,
                   .x = {},
                   .y = static_cast<const T*>(y.data),
                   .rstd = static_cast<const T*>(rstd.data),
                   .out = {},
                   .mean_out = {},
                   .rstd_out = {}};
    for (std::size_t k = 0; k < x.size(); ++k) {
      jet.x[k] = static_cast<const T*>(x[k].data);
      jet.out[k] = pointer<T>(out, k);
      jet.mean_out[k] = pointer<T>(mean_out, k);
      jet.rstd_out[k] = pointer<T>(rstd_out, k);
    }
    HESSCOPE_DISPATCH(ctx, norm_jet<T>(ctx, jet));
  });
}

void norm_jet_backward(const Context& ctx, const std::optional<TensorView>& dg,
                       const std::optional<TensorView>& dy, const std::optional<TensorView>& drstd,
                       const TensorView& g, const TensorView& y, const TensorView& rstd,
                       const TensorView& moments, bool centred, const TensorView& out) {
  constexpr const char* op = "norm_jet_backward";
  HESSCOPE_CHECK(ValueError, dg.has_value() || dy.has_value() || drstd.has_value(), op,
                 ": dg, dy or drstd must be given, got none of them");
  const NormShape s = shape_of(op, out, "out");
  const Named first{"out", out};
  const auto check = [&](const char* name, const std::optional<TensorView>& t,
                         std::initializer_list<index_t> shape) {
    if (t.has_value()) check_compact(op, ctx, {name, *t}, first, shape);
  };
  check("out", out, {s.probes, s.outer, s.groups, s.inner});
  check("dg", dg, {s.probes, s.outer, s.groups, s.inner});
  check("dy", dy, {s.probes, s.outer, s.groups, s.inner});
  check("drstd", drstd, {s.probes, s.groups});
  check("g", g, {s.outer, s.groups, s.inner});
  check("y", y, {s.outer, s.groups, s.inner});
  check("rstd", rstd, {s.groups});
  check("moments", moments, {2, s.groups});
  visit_real(op, first, [&]<typename T>(Tag<T>) {
    if (s.probes == 0 || s.groups == 0) return;
    const NormJetBackward<T> jet{.shape = s,
                                 .centred = centred,
                                 .dg = pointer<const T>(dg),
                                 .dy = pointer<const T>(dy),
                                 .drstd = pointer<const T>(drstd),
                                 .g = static_cast<const T*>(g.data),
                                 .y = static_cast<const T*>(y.data),
                                 .rstd = static_cast<const T*>(rstd.data),
                                 .moments = static_cast<const T*>(moments.data),
                                 .out = static_cast<T*>(out.data)};
    HESSCOPE_DISPATCH(ctx, norm_jet_backward<T>(ctx, jet));
  });
}

}  // namespace hesscope
