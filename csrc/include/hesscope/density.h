#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// Gaussian-smoothed densities of quadratures on a grid:
///   out[b, g] = sum_j weights[b, j] * exp(-((grid[g] - nodes[b, j]) / sigma)^2 / 2) / (sigma
///   sqrt(2 pi)).
///
///   nodes, weights  [B, m] float64        grid  [G] float64        out  [B, G] float64 (output)
///   sigma > 0, in the units of the nodes
///
/// Each value is summed in the order of the nodes: same bits on the CPU for any number of threads.
/// exp is our own (<= 2 ulp). B*G*m evaluations.
/// Throws ShapeError, DTypeError, DeviceError, ValueError; NotCompiled without that backend.
void smoothed_density(const Context& ctx, const TensorView& nodes, const TensorView& weights,
                      const TensorView& grid, double sigma, const TensorView& out);

/// Smoothed distribution functions: out[b, g] = sum_j weights[b, j] * Phi((grid[g] - nodes[b, j]) /
/// sigma). sigma == 0 is the step function #{nodes <= grid}. Otherwise as smoothed_density.
void smoothed_cdf(const Context& ctx, const TensorView& nodes, const TensorView& weights,
                  const TensorView& grid, double sigma, const TensorView& out);

}  // namespace hesscope
