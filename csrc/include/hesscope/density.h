#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// Gaussian-smoothed densities of quadratures on a grid:
///   out[b, g] = sum_j weights[b, j] exp(-((grid[g] - nodes[b, j]) / sigma)^2 / 2) / (sigma sqrt(2
///   pi)).
///
///   nodes, weights  [B, m] float64, rows contiguous      out  [B, G] float64, rows contiguous
///   grid            [G] float64, any stride              (output; must not alias the inputs)
///
/// sigma is in the units of the nodes, finite and at least 2^-1022. A node far away, or at
/// infinity, adds exactly 0; NaN in a row of nodes or weights makes that row of out NaN, and no
/// other. Each value is summed in the order of the nodes: same bits on the CPU for any number of
/// threads. exp is our own (math/elementary.h). B*G*m evaluations; m == 0 writes zeros.
///
/// Throws ShapeError, DTypeError, DeviceError, ValueError; NotCompiled without that backend.
void smoothed_density(const Context& ctx, const TensorView& nodes, const TensorView& weights,
                      const TensorView& grid, double sigma, const TensorView& out);

/// Smoothed distribution functions:
///   out[b, g] = sum_j weights[b, j] Phi((grid[g] - nodes[b, j]) / sigma).
///
/// sigma == 0 is the step function, sum of the weights with nodes[b, j] <= grid[g]. Otherwise as
/// smoothed_density, whose integral it is.
void smoothed_cdf(const Context& ctx, const TensorView& nodes, const TensorView& weights,
                  const TensorView& grid, double sigma, const TensorView& out);

}  // namespace hesscope
