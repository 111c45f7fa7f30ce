#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// Eigenvalues of symmetric tridiagonal matrices, ascending, with the first and last components of
/// their unit eigenvectors. Implicit QL carrying two rows only (Golub and Welsch 1969).
///
///   alpha  [B, m] float64   diagonals
///   beta   [B, m] float64   beta[b, j] couples rows j and j + 1; beta[b, m - 1] is not read
///   nodes  [B, m] float64 (output)   Ritz values theta_1 <= ... <= theta_m
///   first  [B, m] float64 (output)   first components; squared, the weights of Gauss quadrature
///   last   [B, m] float64 (output)   last components; |beta_m * last| are the residuals
///
/// A matrix ends early at the first beta of exactly 0: rows after it belong to another matrix and
/// are not read, `last` refers to the row where it ends, and its outputs are padded with the last
/// node and components 0. A NaN or inf in a
/// matrix, or a QL iteration that does not converge in 60 sweeps, gives NaN in its outputs and in
/// no other's. The sign of (first, last) is fixed by first >= 0. Needs m >= 1; B == 0 is a no-op.
/// Errors of the nodes are a small multiple of m * eps * ||T|| at any scale, 1e-300 to 1e300.
/// Outputs must not alias inputs or each other. O(m^2) a matrix.
///
/// Throws ShapeError, DTypeError, DeviceError, WorkspaceError; NotCompiled without that backend.
void tridiagonal_eigen(const Context& ctx, const TensorView& alpha, const TensorView& beta,
                       const TensorView& nodes, const TensorView& first, const TensorView& last);

/// Bytes of workspace tridiagonal_eigen needs: one off-diagonal a matrix.
index_t tridiagonal_eigen_workspace_bytes(index_t batch, index_t m);

/// Number of eigenvalues below x, by Sturm sequences (Givens 1954; Demmel 1997, section 5.3.4).
///
///   alpha, beta  [B, m] float64, as above, early end included
///   x            [P] float64               counts  [B, P] int64 (output): #{ theta_j < x_p }
///
/// The count is exact for a matrix whose entries are changed by a few eps each. A point met
/// exactly, pivot for pivot, is not counted below itself. x may be infinite. A NaN in the matrix or
/// in x gives -1. The padding after an early end is not counted. O(m) a point. Throws ShapeError,
/// DTypeError, DeviceError; NotCompiled without that backend.
void sturm_count(const Context& ctx, const TensorView& alpha, const TensorView& beta,
                 const TensorView& x, const TensorView& counts);

}  // namespace hesscope
