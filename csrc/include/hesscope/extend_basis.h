#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// Append a row to a basis and project a vector on it, while the basis is read once. For each b:
///
///   x = sum_{i<j} before[i] * q_i + before[j] * v             goes to q_j
///   r = sum_{i<=j} after[i] * q_i + after[j+1] * w            goes to v, with q_j as it was
///   rounded d[i] += <q_i, r> for i <= j, and d[j+1] += <r, r>         with r as it was rounded
///
///   q       [B, j+1, n]  rows contiguous, any row stride; the last row is written
///   v       [B, n]       rows contiguous, any row stride; read, then overwritten by r
///   w       [B, n]       as v; read only
///   before  [B, j+1]     float64, rows contiguous
///   after   [B, j+2]     float64, rows contiguous
///   d       [B, j+2]     float64, rows contiguous; added to
///
/// q, v and w are all float32 or all float64, and no two of q, v and w share memory. Sums are
/// float64; each element of x and r is summed from the vector on, then in the order i = 0, 1, ...,
/// and rounded once.
/// B == 0 is a no-op; n == 0 leaves d as it is.
/// Deterministic: row b depends on its own inputs only. d is added to slab by slab, so that strips
/// of whole slabs, one call after the other, give the bits of one call.
/// Reads B*(j+2)*n elements and writes B*2*n; 6*j*n multiplications and additions.
///
/// This is what delayed Gram-Schmidt with one reduction comes to for Lanczos (Bielich and others
/// 2022): x is the vector of the last step, cleaned by what that step measured, r the next one.
///
/// Throws ShapeError, DTypeError, DeviceError, WorkspaceError; NotCompiled without that backend.
void extend_basis(const Context& ctx, const TensorView& q, const TensorView& v, const TensorView& w,
                  const TensorView& before, const TensorView& after, const TensorView& d);

/// Bytes of workspace extend_basis needs for a basis of `rows` = j + 1 rows.
index_t extend_basis_workspace_bytes(index_t batch, index_t rows, index_t n);

}  // namespace hesscope
