#include "hesscope/density.h"

#include <cmath>

#include "kernels/density_kernels.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {
namespace {

void check_operands(const char* op, const Context& ctx, const TensorView& nodes,
                    const TensorView& weights, const TensorView& grid, const TensorView& out) {
  check_matrix(op, {"nodes", nodes});
  check_matrix(op, {"weights", weights});
  check_vector(op, {"grid", grid});
  check_output_matrix(op, {"out", out});
  check_device(op, ctx, {{"nodes", nodes}, {"weights", weights}, {"grid", grid}, {"out", out}});
  check_dtype(op, {"nodes", nodes}, {DType::f64});
  check_dtype(op, {"weights", weights}, {DType::f64});
  check_dtype(op, {"grid", grid}, {DType::f64});
  check_dtype(op, {"out", out}, {DType::f64});
  check_shape(op, {"weights", weights}, {nodes.shape[0], nodes.shape[1]});
  check_shape(op, {"out", out}, {nodes.shape[0], grid.shape[0]});
}

}  // namespace

void smoothed_density(const Context& ctx, const TensorView& nodes, const TensorView& weights,
                      const TensorView& grid, double sigma, const TensorView& out) {
  constexpr const char* op = "smoothed_density";
  check_operands(op, ctx, nodes, weights, grid, out);
  HESSCOPE_CHECK(ValueError, std::isnormal(sigma) && sigma > 0, op,
                 ": sigma must be positive, finite and at least 2^-1022, got ", sigma);
  if (out.shape[0] == 0 || out.shape[1] == 0) return;
  HESSCOPE_DISPATCH(
      ctx, smoothed_density(ctx, matrix<const double>(nodes), matrix<const double>(weights),
                            vector<const double>(grid), sigma, matrix<double>(out)));
}

void smoothed_cdf(const Context& ctx, const TensorView& nodes, const TensorView& weights,
                  const TensorView& grid, double sigma, const TensorView& out) {
  constexpr const char* op = "smoothed_cdf";
  check_operands(op, ctx, nodes, weights, grid, out);
  HESSCOPE_CHECK(ValueError, sigma == 0 || (std::isnormal(sigma) && sigma > 0), op,
                 ": sigma must be 0, or positive, finite and at least 2^-1022, got ", sigma);
  if (out.shape[0] == 0 || out.shape[1] == 0) return;
  HESSCOPE_DISPATCH(ctx,
                    smoothed_cdf(ctx, matrix<const double>(nodes), matrix<const double>(weights),
                                 vector<const double>(grid), sigma, matrix<double>(out)));
}

}  // namespace hesscope
