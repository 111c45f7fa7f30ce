#pragma once

#include <optional>
#include <span>

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

inline constexpr int kMaxSoftmaxOrder = 3;

/// Softmax of rows and the logarithm of their sums of exponentials:
///   p[b, c] = exp(x[b, c] - log_sum[b]),   log_sum[b] = log sum_c exp(x[b, c]).
///
///   x  [B, C]  float32 or float64, rows contiguous, C >= 1
///   p  [B, C], log_sum [B, 1]  the dtype of x, rows contiguous (outputs; p may be x)
///
/// float64 arithmetic on differences from the largest entry, rounded once.
/// Throws ShapeError, DTypeError, DeviceError; NotCompiled without that backend.
void softmax(const Context& ctx, const TensorView& x, const TensorView& p,
             const TensorView& log_sum);

/// Taylor coefficients of K probes through softmax or its logarithm, times constants of the rows:
///
///   y = w p(x), p_c = exp(x_c) / sum_c exp(x_c),   or   y = w log p(x)   with `logarithm`
///
///   x    coefficients 1 to 3, each [K, B, C]     p  [B, C], the value of the softmax
///   out  as many [K, B, C]   (outputs)           w  [B] or none, which stands for ones
///
/// With w the weight of every sample, coefficient k of w p is that of the gradient of a weighted
/// cross entropy in its logits, since the rest of the gradient is constant. All share one dtype,
/// float32 or float64, are contiguous and do not overlap. Sums are float64, in an order that
/// depends on C alone. Reads x_1 and p twice (three times from order 2 on), the other coefficients
/// two times, all but the first from cache where a row fits, and writes out once. An empty K or B
/// is a no-op. Source: the recurrences of exp and of a quotient (Griewank & Walther 2008,
/// tables 13.1 and 13.2), after the mean of each coefficient under p has been taken out, which
/// changes no result.
///
/// Throws ShapeError, ValueError, DTypeError, DeviceError; NotCompiled without that backend.
void softmax_jet(const Context& ctx, std::span<const TensorView> x, const TensorView& p,
                 const std::optional<TensorView>& w, bool logarithm,
                 std::span<const TensorView> out);

/// The first coefficient of d = p (g - <p, g>), the backward of softmax, from those of g and p:
///
///   dg, dp  [K, B, C], one may be missing      out    [K, B, C]   (output)
///   g, p    [B, C]                             along  [B], <p, g>
///
/// Layout, sums, traffic and errors as above.
void softmax_jet_backward(const Context& ctx, const std::optional<TensorView>& dg,
                          const std::optional<TensorView>& dp, const TensorView& g,
                          const TensorView& p, const TensorView& along, const TensorView& out);

}  // namespace hesscope
