#include "hesscope/factor_sum.h"

#include "kernels/factor_sum_kernels.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {
namespace {

constexpr const char* kOp = "factor_sum";
constexpr const char* kFactorNames[] = {"factors[0]", "factors[1]", "factors[2]"};
constexpr const char* kTangentNames[] = {"tangents[0]", "tangents[1]", "tangents[2]"};

/// `out` without its first `skip` dimensions is what the tensor is broadcast to.
void check_operand(const Context& ctx, const char* name, const TensorView& t, const TensorView& out,
                   int skip) {
  const Named named{name, t};
  HESSCOPE_CHECK(ShapeError, t.ndim == 4 - skip, kOp, ": ", name, " must have ", 4 - skip,
                 " dimensions, got ", describe(name, t));
  for (int d = 0; d < t.ndim; ++d) {
    const index_t want = out.shape[d + skip];
    const bool probes = skip == 0 && d == 0;
    HESSCOPE_CHECK(ShapeError, t.shape[d] == want || (!probes && t.shape[d] == 1), kOp, ": ", name,
                   " must be broadcast to out in dimension ", d, ", got ", describe(name, t),
                   " and ", describe("out", out));
  }
  HESSCOPE_CHECK(ShapeError, t.shape[t.ndim - 1] <= 1 || t.stride[t.ndim - 1] == 1, kOp, ": ", name,
                 " must be contiguous in its last dimension, got ", describe(name, t),
                 " with stride ", t.stride[t.ndim - 1]);
  check_same_dtype(kOp, {{"out", out}, named});
  check_device(kOp, ctx, {{"out", out}, named});
}

/// Neither a stride of 0 nor rows that run into each other.
void check_output(const TensorView& out) {
  HESSCOPE_CHECK(ShapeError, out.ndim == 4, kOp, ": out must have 4 dimensions, got ",
                 describe("out", out));
  index_t extent = 1;
  for (int d = 3; d >= 0; --d) {
    if (out.shape[d] > 1) {
      HESSCOPE_CHECK(ShapeError, d == 3 ? out.stride[d] == 1 : out.stride[d] >= extent, kOp,
                     ": out must be contiguous in its last dimension and not overlap, got ",
                     describe("out", out), " with stride ", out.stride[d], " in dimension ", d);
      extent = out.stride[d] * out.shape[d];
    }
  }
}

template <typename T>
Grid4<T> grid(const TensorView& t) {
  const int skip = 4 - t.ndim;
  Grid4<T> found{static_cast<T*>(t.data), {0, 0, 0, 0}};
  for (int d = 0; d < t.ndim; ++d) found.stride[d + skip] = t.shape[d] == 1 ? 0 : t.stride[d];
  return found;
}

}  // namespace

void factor_sum(const Context& ctx, std::span<const TensorView> factors,
                std::span<const TensorView> tangents, double scale, bool add,
                const TensorView& out) {
  HESSCOPE_CHECK(
      ValueError,
      factors.size() == tangents.size() && !factors.empty() && factors.size() <= kMaxFactors, kOp,
      ": factors must be 1 to ", kMaxFactors, ", and as many as tangents, got ", factors.size(),
      " and ", tangents.size());
  check_output(out);
  for (std::size_t j = 0; j < factors.size(); ++j) {
    check_operand(ctx, kFactorNames[j], factors[j], out, 1);
    check_operand(ctx, kTangentNames[j], tangents[j], out, 0);
  }
  visit_real(kOp, {"out", out}, [&]<typename T>(Tag<T>) {
    for (int d = 0; d < 4; ++d) {
      if (out.shape[d] == 0) return;
    }
    FactorSum<T> sum{.count = static_cast<int>(factors.size()),
                     .factor = {},
                     .tangent = {},
                     .out = grid<T>(out),
                     .shape = {out.shape[0], out.shape[1], out.shape[2], out.shape[3]},
                     .scale = static_cast<T>(scale),
                     .add = add};
    for (int j = 0; j < sum.count; ++j) {
      sum.factor[j] = grid<const T>(factors[j]);
      sum.tangent[j] = grid<const T>(tangents[j]);
    }
    HESSCOPE_DISPATCH(ctx, factor_sum<T>(ctx, sum));
  });
}

}  // namespace hesscope
