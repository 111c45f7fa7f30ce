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

/// Throws ValueError naming the first bad entry unless row_start is non-decreasing from 0 to nnz
/// and every column lies in [0, cols). Host tensors only; ShapeError, DTypeError or DeviceError
/// else. O(rows + nnz).
void csr_check(const TensorView& row_start, const TensorView& columns, index_t cols);

}  // namespace hesscope
