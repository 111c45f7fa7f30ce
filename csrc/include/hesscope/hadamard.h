#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// Walsh-Hadamard transforms of K vectors in place:  x <- scale * W x,  W[i, j] = (-1)^popcount(i &
/// j).
///
///   x  [K, n] float32 or float64, n a power of two, rows contiguous, any row stride
///
/// scale = 1 / sqrt(n) makes it orthogonal (and its own inverse). The butterflies are applied in
/// the order of the bits of the index: the same bits for any K and number of threads. About 2 * n *
/// ceil(log2(n) / log2(block)) elements of memory traffic a row, where a block fits the cache.
///
/// Throws ShapeError, DTypeError, DeviceError, ValueError; NotCompiled without that backend.
void walsh_hadamard(const Context& ctx, const TensorView& x, double scale);

}  // namespace hesscope
