#include "hesscope/lanczos.h"

#include "kernels/lanczos_kernels.h"
#include "kernels/workspace.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {
namespace {

constexpr const char* kOp = "lanczos_update";

/// next may be v_prev, row by row; it may not be what other rows or the second pass still read.
void check_aliasing(const TensorView& w, const TensorView& v, const TensorView& v_prev,
                    const TensorView& next) {
  const bool in_place = next.data == v_prev.data;
  HESSCOPE_CHECK(ValueError, next.data != w.data && next.data != v.data, kOp,
                 ": next must not share memory with ", next.data == w.data ? "w" : "v");
  HESSCOPE_CHECK(ValueError, !in_place || next.shape[0] <= 1 || next.stride[0] == v_prev.stride[0],
                 kOp, ": next must have the row stride of v_prev to share its memory, got ",
                 next.stride[0], " and ", v_prev.stride[0]);
}

void check_operands(const Context& ctx, const TensorView& w, const TensorView& v,
                    const TensorView& v_prev, const TensorView& next, const TensorView& state,
                    const TensorView& alpha, const TensorView& beta) {
  check_matrix(kOp, {"w", w});
  check_matrix(kOp, {"v", v});
  check_matrix(kOp, {"v_prev", v_prev});
  check_output_matrix(kOp, {"next", next});
  check_output_matrix(kOp, {"state", state});
  check_dtype(kOp, {"w", w}, {DType::f32, DType::f64});
  check_same_dtype(kOp, {{"w", w}, {"v", v}, {"v_prev", v_prev}, {"next", next}});
  check_dtype(kOp, {"state", state}, {DType::f64});
  const index_t rows = w.shape[0], n = w.shape[1];
  HESSCOPE_CHECK(ShapeError, n >= 1, kOp, ": w must have at least one column, got ",
                 describe("w", w));
  check_shape(kOp, {"v", v}, {rows, n});
  check_shape(kOp, {"v_prev", v_prev}, {rows, n});
  check_shape(kOp, {"next", next}, {rows, n});
  check_shape(kOp, {"state", state}, {rows, kLanczosStateSize});
  check_coefficients(kOp, {"alpha", alpha}, rows);
  check_coefficients(kOp, {"beta", beta}, rows);
  check_device(kOp, ctx,
               {{"w", w},
                {"v", v},
                {"v_prev", v_prev},
                {"next", next},
                {"state", state},
                {"alpha", alpha},
                {"beta", beta}});
}

}  // namespace

index_t lanczos_update_workspace_bytes(index_t rows, index_t n) {
  return aligned_bytes(rows * num_slabs(n) * static_cast<index_t>(sizeof(double)));
}

void lanczos_update(const Context& ctx, const TensorView& w, const TensorView& v,
                    const TensorView& v_prev, const TensorView& next, const TensorView& state,
                    const TensorView& alpha, const TensorView& beta, double breakdown_tolerance) {
  check_operands(ctx, w, v, v_prev, next, state, alpha, beta);
  HESSCOPE_CHECK(ValueError, breakdown_tolerance >= 0, kOp,
                 ": breakdown_tolerance must be at least 0, got ", breakdown_tolerance);
  check_workspace(kOp, ctx, lanczos_update_workspace_bytes(w.shape[0], w.shape[1]));
  if (w.shape[0] == 0) return;
  check_aliasing(w, v, v_prev, next);

  visit_real(kOp, {"w", w}, [&]<typename T>(Tag<T>) {
    HESSCOPE_DISPATCH(
        ctx, lanczos_update<T>(ctx, matrix<const T>(w), matrix<const T>(v), matrix<const T>(v_prev),
                               matrix<T>(next), matrix<double>(state), vector<double>(alpha),
                               vector<double>(beta), breakdown_tolerance));
  });
}

}  // namespace hesscope
