#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// Columns of the state of a Lanczos recurrence, one row per recurrence, float64.
///
/// Vectors are kept unnormalised: the Lanczos vector is q_j = scale * v. So normalising costs no
/// pass.
enum LanczosState : int {
  kLanczosScale,      // q_j = scale * v;  0 marks a recurrence that has ended ("frozen")
  kLanczosScalePrev,  // q_{j-1} = scale_prev * v_prev;  0 in the first step: v_prev is not read
  kLanczosBetaPrev,   // beta_{j-1}, the coupling of q_{j-1} and q_j;  0 in the first step
  kLanczosLargest,    // largest |alpha| + beta seen: the estimate of ||H|| that thresholds refer to
  kLanczosStateSize
};

/// One step of K Lanczos recurrences (Paige's variant A27), fused:
///
///   r     = scale * w - beta_prev * scale_prev * v_prev
///   alpha = <scale * v, r>
///   next  = r - alpha * scale * v
///   beta  = ||next||
///
/// and the state moves on: scale_prev <- scale, beta_prev <- beta, scale <- 1 / beta,
/// largest <- max(largest, |alpha| + beta).
///
///   w       [K, n]  the products with H: w = H v
///   v       [K, n]  the current, unnormalised Lanczos vectors
///   v_prev  [K, n]  the previous ones
///   next    [K, n]  (output) the next ones; may be v_prev itself, and no other input
///   state   [K, kLanczosStateSize] float64, rows contiguous (read and written)
///   alpha   [K] float64, any stride (output)         beta  [K] float64, any stride (output)
///
/// w, v, v_prev and next share one dtype, float32 or float64; rows contiguous, any row stride.
/// Breakdown: beta <= breakdown_tolerance * largest ends a recurrence: beta is set to 0, scale to
/// 0 and next to zeros. A recurrence that has ended writes alpha = beta = 0 and zeros to next.
/// A value that is not finite goes through to alpha and beta. n >= 1; K == 0 is a no-op.
/// beta is the norm of next as stored, rounded to its dtype, so that scale * next has norm 1.
/// v is not normalised, so that w has elements of size ||H||^2 / sqrt(n): in float32 these must be
/// within 1e-37 and 1e38.
/// Sums are float64; row r depends on row r only, and not on the number of threads.
/// Two passes: read w, v, v_prev; then read them again and write next. 28 bytes an element in
/// float32 where next is v_prev, 32 otherwise.
///
/// Throws ShapeError, DTypeError, DeviceError, WorkspaceError; NotCompiled without that backend.
void lanczos_update(const Context& ctx, const TensorView& w, const TensorView& v,
                    const TensorView& v_prev, const TensorView& next, const TensorView& state,
                    const TensorView& alpha, const TensorView& beta, double breakdown_tolerance);

/// Bytes of workspace lanczos_update needs: one float64 per slab of columns and row.
index_t lanczos_update_workspace_bytes(index_t rows, index_t n);

}  // namespace hesscope
