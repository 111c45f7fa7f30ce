#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// Products of a diagonal matrix with K vectors:   y[r, i] = d[i] * x[r, i].
///
///   d  [n], contiguous     x  [K, n]     y  [K, n]  (output; may be x itself, and not overlap it)
///
/// All three share one dtype, float32 or float64; rows contiguous, any row stride. Each element is
/// rounded once. K == 0 or n == 0 is a no-op. Reads (K + 1) n elements, writes K n.
///
/// Throws ShapeError, DTypeError, DeviceError; NotCompiled without that backend.
void scale_columns(const Context& ctx, const TensorView& d, const TensorView& x,
                   const TensorView& y);

}  // namespace hesscope
