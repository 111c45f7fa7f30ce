#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// Inner products of two sets of vectors:   out[i, j] = sum_c q[i, c] * w[j, c].
///
///   q    [k, n]  rows contiguous, any row stride
///   w    [b, n]  rows contiguous, any row stride; may be q itself
///   out  [k, b]  float64, rows contiguous (output; must not alias the inputs)
///
/// q and w are bfloat16, float32 or float64, each of its own. Products and sums are float64.
/// Where w is q, the half below the diagonal is a copy of the half above, and costs nothing.
/// k == 0 or b == 0 is a no-op; n == 0 writes zeros.
/// Deterministic: an entry depends on its two rows only, and <x, y> has the bits of <y, x>.
/// Reads (k + b) * n elements once, in tiles that stay in cache.
///
/// Throws ShapeError, DTypeError, DeviceError, WorkspaceError; NotCompiled without that backend.
void gram(const Context& ctx, const TensorView& q, const TensorView& w, const TensorView& out);

/// Bytes of workspace gram needs: one float64 per panel of columns and entry.
index_t gram_workspace_bytes(index_t k, index_t b, index_t n);

}  // namespace hesscope
