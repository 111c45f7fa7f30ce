#pragma once

#include <array>
#include <span>

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

inline constexpr int kMaxProductOperands = 10, kMaxProductTerms = 8, kMaxTermFactors = 4;

/// scale times the operands with these numbers; unused places at the end are -1.
struct ProductTerm {
  double scale = 1;
  std::array<int, kMaxTermFactors> factor{-1, -1, -1, -1};
};

/// Elementwise sums of products, what the chain rule is made of:
///
///   out[a, b, c] = sum_t scale_t * prod_j operands[factor_t[j]][a, b, c]
///
///   operands  1 to 10 of [A, B, C]; A, B or C may be 1 instead: it is broadcast
///   out       [A, B, C]   (output; may be one of the operands that is not broadcast)
///
/// 1 to 8 terms of 1 to 4 factors. All tensors share one dtype, float32 or float64, and the
/// arithmetic is in it, term by term and factor by factor: an element depends on its own inputs
/// only. The last dimension is contiguous, the others at any non-negative stride; rows of out must
/// not overlap. An empty out is a no-op. One pass: reads every operand and writes out once.
///
/// Throws ShapeError, ValueError, DTypeError, DeviceError; NotCompiled without that backend.
void product_sum(const Context& ctx, std::span<const TensorView> operands,
                 std::span<const ProductTerm> terms, const TensorView& out);

}  // namespace hesscope
