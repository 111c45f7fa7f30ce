#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// Coefficients of vectors in bases:   c[b, j] = sum_i q[b, j, i] * w[b, i].
///
///   q  [B, k, n]  rows contiguous, any row stride; batch stride 0 is one basis shared by all b
///   w  [B, n]     rows contiguous, any row stride
///   c  [B, k]     float64, rows contiguous (output; must not alias the inputs)
///
/// q is bfloat16, float32 or float64; w is float32 or float64. Products and sums are float64.
/// B == 0 or k == 0 is a no-op; n == 0 writes zeros.
/// Deterministic: the result depends on the inputs and n only, and row b on its own inputs only.
/// Reads k*n*B elements of q (k*n if shared) and B*n of w.
///
/// Throws ShapeError, DTypeError, DeviceError, WorkspaceError; NotCompiled without that backend.
void multi_dot(const Context& ctx, const TensorView& q, const TensorView& w, const TensorView& c);

/// Bytes of workspace multi_dot needs: one float64 per slab of columns, vector and basis row.
index_t multi_dot_workspace_bytes(index_t batch, index_t k, index_t n);

/// Add combinations of basis rows:   w[b, i] += scale * sum_j c[b, j] * q[b, j, i].
///
/// Shapes and dtypes as in multi_dot; w is read and written. Each element is summed in float64 in
/// the order j = 0, 1, ... and rounded once. B == 0, k == 0 or n == 0 is a no-op.
/// Reads k*n*B elements of q (k*n if shared), reads and writes B*n of w.
///
/// Throws ShapeError, DTypeError, DeviceError; NotCompiled without that backend.
void multi_axpy(const Context& ctx, const TensorView& q, const TensorView& c, const TensorView& w,
                double scale);

}  // namespace hesscope
