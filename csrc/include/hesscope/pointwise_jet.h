#pragma once

#include <optional>
#include <span>

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// The monomials whose coefficients are pushed: s, or s and s^2, or s, s^2 and s^3; or s, t and st,
/// where s^2 = t^2 = 0.
enum class Monomials { one, two, three, mixed };

constexpr int count_of(Monomials m) {
  return m == Monomials::one ? 1 : m == Monomials::two ? 2 : 3;
}
constexpr int order_of(Monomials m) { return m == Monomials::mixed ? 2 : count_of(m); }

/// Coefficients of K probes through an elementwise function, or through a product with one:
///
///   y = f(x)   or   y = g f(x)
///
///   taylor   [D, N], rows contiguous: f^(d)(x_0) / d! for d = 0, ..., D - 1 = the highest order
///   x        a coefficient [K, N] for each monomial, or none where it is zero; at least one
///   g_value  [N], the value of g, or none: then y = f(x), and row 0 of taylor is not read
///   g        as x, without g_value none of them
///   out      as many [K, N], or none where it is not wanted   (outputs)
///
/// With f_1, f_2, f_3 = f', f'' / 2, f''' / 6 the coefficients of f(x) are (Faa di Bruno)
///
///   f_1 x_1,   f_1 x_2 + f_2 x_1^2,   f_1 x_3 + 2 f_2 x_1 x_2 + f_3 x_1^3,
///   f_1 x_st + 2 f_2 x_s x_t,
///
/// and those of the product sums over all ways to split a monomial in two. All share one dtype,
/// float32 or float64, and the arithmetic is in it; contiguous but for the rows of taylor; outputs
/// overlap nothing. An empty K or N is a no-op. One pass: reads taylor and g_value once (from cache
/// for the second probe on), every coefficient once, writes out once.
///
/// Throws ShapeError, ValueError, DTypeError, DeviceError; NotCompiled without that backend.
void pointwise_jet(const Context& ctx, Monomials monomials, const TensorView& taylor,
                   std::span<const std::optional<TensorView>> x,
                   const std::optional<TensorView>& g_value,
                   std::span<const std::optional<TensorView>> g,
                   std::span<const std::optional<TensorView>> out);

}  // namespace hesscope
