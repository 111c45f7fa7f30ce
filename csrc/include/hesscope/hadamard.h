#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// Walsh-Hadamard transforms of K vectors in place:  x <- scale * W x,
/// W[i, j] = (-1)^popcount(i & j).
///
///   x  [K, n] float32 or float64, n a power of two, rows contiguous, any row stride
///
/// scale = 1 / sqrt(n) makes it orthogonal (and its own inverse); it is rounded to the dtype of x
/// and applied last. The butterflies (a + b, a - b) are applied in the order of the bits of the
/// index: the same bits for any K and number of threads, on the CPU and on CUDA. K == 0 is a no-op.
/// Memory traffic: one pass (read and write x) for the bits inside a block that fits the cache, and
/// one for every 8 bits above (CUDA: 7).
///
/// Throws ShapeError, DTypeError, DeviceError; NotCompiled without that backend.
void walsh_hadamard(const Context& ctx, const TensorView& x, double scale);

}  // namespace hesscope
