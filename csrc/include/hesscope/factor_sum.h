#pragma once

#include <span>

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

inline constexpr int kMaxFactors = 3;

/// Coefficients of K probes after an elementwise operator, from its saved derivatives:
///
///   out[k, a, b, c] = scale * sum_j factors[j][a, b, c] * tangents[j][k, a, b, c] + (add ? out :
///   0)
///
///   factors   1 to 3 of [A, B, C]          tangents  as many of [K, A, B, C]
///   out       [K, A, B, C]                 (output; may be one of the tangents)
///
/// A, B or C of a factor or a tangent may be 1 instead: it is broadcast. All share one dtype,
/// float32 or float64, and the arithmetic is in it: at most 2 * (number of factors) + 2 roundings
/// of the sum of absolute terms. The last dimension is contiguous, the others at any stride; those
/// of out do not overlap. An empty out is a no-op. One pass: reads every factor once and every
/// tangent once, writes out once.
///
/// Throws ShapeError, ValueError, DTypeError, DeviceError; NotCompiled without that backend.
void factor_sum(const Context& ctx, std::span<const TensorView> factors,
                std::span<const TensorView> tangents, double scale, bool add,
                const TensorView& out);

}  // namespace hesscope
