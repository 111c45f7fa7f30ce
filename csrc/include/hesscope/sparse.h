#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// Products of a sparse matrix in compressed rows with K vectors at once:
///   y[r, i] = sum_{p in [row_start[i], row_start[i + 1])} values[p] * x[r, columns[p]].
///
///   row_start  [rows + 1] int64     columns  [nnz] int32 or int64     values  [nnz] float32 or
///   float64 x  [K, cols]   y  [K, rows]  (output; must not alias x): the dtype of values, rows
///   contiguous
///
/// Row sums stay in the dtype of the values: the same bits for any K and number of threads. On the
/// CPU a row is summed in the order of its entries; on CUDA lane j of a group of G adds entries j,
/// j + G, ... and the lanes are added as a butterfly, with G a function of rows and nnz.
/// The matrix is read once for every 8 vectors, whose x is interleaved in the workspace ([cols, 8])
/// when K > 1. Rows may be empty, unsorted or repeat a column. Indices must be valid: see
/// csr_check.
///
/// Throws ShapeError, DTypeError, DeviceError, WorkspaceError; NotCompiled without that backend.
void csr_matvec(const Context& ctx, const TensorView& row_start, const TensorView& columns,
                const TensorView& values, const TensorView& x, const TensorView& y);

/// Bytes of workspace csr_matvec needs for K vectors of this length.
index_t csr_matvec_workspace_bytes(index_t k, index_t cols, DType dtype);

/// One step of K <= 8 Lanczos recurrences with a symmetric matrix in compressed rows: csr_matvec
/// and lanczos_update (hesscope/lanczos.h) at once, on vectors that stay interleaved between steps:
///
///   r     = scale * A v - beta_prev * scale_prev * v_prev      (rounded to the dtype)
///   alpha = <scale * v, r>
///   next  = r - alpha * scale * v
///   beta  = ||next||
///
///   row_start, columns, values  a square matrix, as csr_matvec takes it
///   v       [n, W]  the current, unnormalised vectors, contiguous, entry r of a row being that of
///                   recurrence r; W = csr_lanczos_lanes(K): 1, 2, 4 or 8
///   v_prev  [n, W]  the previous ones; not read in the first step (output: the next ones)
///   state   [K, kLanczosStateSize] float64, rows contiguous (read and written)
///   alpha   [K] float64, any stride (output)         beta  [K] float64, any stride (output)
///
/// State, breakdown and ended recurrences are those of lanczos_update. Lanes past K are written as
/// zeros. Row sums stay in the dtype of the values, as in csr_matvec; sums over rows are float64,
/// slab by slab: a recurrence has the same bits for any K and number of threads. Reads the matrix
/// once and moves 24 bytes an element in float32; csr_matvec and lanczos_update move 44 and more.
///
/// Throws ShapeError, DTypeError, DeviceError, ValueError, WorkspaceError; NotCompiled without that
/// backend.
void csr_lanczos_update(const Context& ctx, const TensorView& row_start, const TensorView& columns,
                        const TensorView& values, const TensorView& v, const TensorView& v_prev,
                        const TensorView& state, const TensorView& alpha, const TensorView& beta,
                        double breakdown_tolerance);

/// Lanes of interleaved storage for K <= 8 vectors: the next power of two. ValueError for more.
index_t csr_lanczos_lanes(index_t k);

/// Bytes of workspace csr_lanczos_update needs: a float64 per slab of rows and lane.
index_t csr_lanczos_update_workspace_bytes(index_t k, index_t n);

/// Throws ValueError naming the first bad entry unless row_start is non-decreasing from 0 to nnz
/// and every column lies in [0, cols). Host tensors only; ShapeError, DTypeError or DeviceError
/// else. O(rows + nnz).
void csr_check(const TensorView& row_start, const TensorView& columns, index_t cols);

}  // namespace hesscope
