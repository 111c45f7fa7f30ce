#pragma once

#include <optional>
#include <span>

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

inline constexpr int kMaxNormOrder = 3;

/// Taylor coefficients of K probes through a normalisation y = (x - mean) * rstd of the groups g of
/// a tensor [O, G, I], each over its O * I elements (layer norm: O = 1; batch norm: O the batch).
/// `rstd` is (mean square of x - mean, plus epsilon)^(-1/2); not `centred` (RMS norm): mean = 0.
///
///   x      1 to 3 coefficients [K, O, G, I]     y     [O, G, I], value     rstd  [G], value
///   out    as many [K, O, G, I] or none         mean_out, rstd_out   as many [K, G] or none
///
/// All share one dtype, float32 or float64, are contiguous and do not overlap. Moments are float64
/// sums in an order that depends on O and I alone. Reads every coefficient and y twice (three times
/// from order 2 on; all but the first from cache where a group fits), writes out once. An empty
/// group count or K is a no-op. Source: the power rule of Taylor arithmetic (Griewank & Walther
/// 2008, table 13.1).
///
/// Throws ShapeError, ValueError, DTypeError, DeviceError; NotCompiled without that backend.
void norm_jet(const Context& ctx, std::span<const TensorView> x, const TensorView& y,
              const TensorView& rstd, bool centred, std::span<const TensorView> out,
              std::span<const TensorView> mean_out, std::span<const TensorView> rstd_out);

/// The first coefficient of d = rstd * P(g), P(g) = g - mean(g) - y * mean(y g): the backward of
/// the above, from the first coefficients of g, y and rstd, those that there are:
///
///   dg, dy   [K, O, G, I]      drstd  [K, G]      out  [K, O, G, I]  (output)
///   g, y     [O, G, I]         rstd   [G]
///   moments  [2, G]: mean(g) (0 where not centred) and mean(y g)
///
/// Layout, sums, traffic and errors as above.
void norm_jet_backward(const Context& ctx, const std::optional<TensorView>& dg,
                       const std::optional<TensorView>& dy, const std::optional<TensorView>& drstd,
                       const TensorView& g, const TensorView& y, const TensorView& rstd,
                       const TensorView& moments, bool centred, const TensorView& out);

}  // namespace hesscope
