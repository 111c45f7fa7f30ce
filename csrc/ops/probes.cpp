#include "hesscope/probes.h"

#include "kernels/probes_kernels.h"
#include "kernels/workspace.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {
namespace {

void check_address(const char* op, const ProbeSpec& spec, index_t rows, index_t n) {
  const index_t last_probe = (index_t{1} << 32) - rows;
  HESSCOPE_CHECK(ValueError, 0 <= spec.first_probe && spec.first_probe <= last_probe, op,
                 ": first_probe must be in [0, 2^32 - K = ", last_probe, "], got ",
                 spec.first_probe);
  const index_t last_index = (index_t{1} << 62) - n;
  HESSCOPE_CHECK(ValueError, 0 <= spec.first_index && spec.first_index <= last_index, op,
                 ": first_index must be in [0, 2^62 - n = ", last_index, "], got ",
                 spec.first_index);
}

}  // namespace

void probes(const Context& ctx, const ProbeSpec& spec, const TensorView& out) {
  constexpr const char* op = "probes";
  check_output_matrix(op, {"out", out});
  check_device(op, ctx, {{"out", out}});
  check_dtype(op, {"out", out}, {DType::f32, DType::f64});
  check_address(op, spec, out.shape[0], out.shape[1]);
  if (out.shape[0] == 0 || out.shape[1] == 0) return;

  visit_real(op, {"out", out}, [&]<typename T>(Tag<T>) {
    HESSCOPE_DISPATCH(ctx, probes<T>(ctx, spec, matrix<T>(out)));
  });
}

index_t probe_dot_workspace_bytes(index_t rows, index_t n) {
  return aligned_bytes(num_slabs(n) * rows * static_cast<index_t>(sizeof(double)));
}

void probe_dot(const Context& ctx, const ProbeSpec& spec, const TensorView& w,
               const TensorView& c) {
  constexpr const char* op = "probe_dot";
  check_matrix(op, {"w", w});
  check_vector(op, {"c", c});
  check_device(op, ctx, {{"w", w}, {"c", c}});
  check_dtype(op, {"w", w}, {DType::f32, DType::f64});
  check_dtype(op, {"c", c}, {DType::f64});
  check_shape(op, {"c", c}, {w.shape[0]});
  check_address(op, spec, w.shape[0], w.shape[1]);
  check_workspace(op, ctx, probe_dot_workspace_bytes(w.shape[0], w.shape[1]));
  if (w.shape[0] == 0) return;

  visit_real(op, {"w", w}, [&]<typename T>(Tag<T>) {
    HESSCOPE_DISPATCH(ctx, probe_dot<T>(ctx, spec, matrix<const T>(w), vector<double>(c)));
  });
}

}  // namespace hesscope
