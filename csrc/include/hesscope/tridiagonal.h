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
/// are not read; its outputs are padded with the last node and components 0. A NaN or inf in a
/// matrix, or a QL iteration that does not converge in 60 sweeps, gives NaN in its outputs and in
/// no other's. The sign of (first, last) is fixed by first >= 0. Needs m >= 1; B == 0 is a no-op.
/// O(m^2) a matrix.
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
/// O(m) a point. Throws ShapeError, DTypeError, DeviceError; NotCompiled without that backend.
void sturm_count(const Context& ctx, const TensorView& alpha, const TensorView& beta,
                 const TensorView& x, const TensorView& counts);

}  // namespace hesscope
