#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// Symmetric tensors of order 3 have sides of at most this many.
inline constexpr index_t kLargestTensorSide = 64;

/// Entries that are stored of a symmetric tensor T [k, k, k]: T[i, j, l] with i <= j <= l, l
/// fastest and i slowest.
constexpr index_t packed_tensor_size(index_t k) { return k * (k + 1) * (k + 2) / 6; }

/// Contractions with two vectors:   out[b, l] = sum_ij T[i, j, l] u[b, i] v[b, j].
///
///   t     [k (k + 1) (k + 2) / 6]  float64, contiguous, packed as above; 1 <= k <= 64
///   u, v  [B, k]                   float64, rows contiguous, any row stride; may be the same
///   out   [B, k]                   float64, rows contiguous (output; must not alias the inputs)
///
/// Deterministic: row b depends on t and its own inputs only. B == 0 is a no-op.
/// About k^3 B operations; t is read once for every 8 rows on the CPU.
///
/// Throws ShapeError, DTypeError, DeviceError; NotCompiled without that backend.
void contract3(const Context& ctx, const TensorView& t, const TensorView& u, const TensorView& v,
               const TensorView& out);

/// Contractions with three vectors:   out[b] = sum_ijl T[i, j, l] u[b, i] v[b, j] w[b, l].
///
///   u, v, w  [B, k] as in contract3      out  [B]  float64, contiguous
void contract3_scalar(const Context& ctx, const TensorView& t, const TensorView& u,
                      const TensorView& v, const TensorView& w, const TensorView& out);

/// Shifted symmetric higher-order power iteration (Kolda and Mayo 2011, SS-HOPM), num_steps steps
/// from every row of x:   x <- y / |y|,  y = T[x, x, .] + shift * x.
///
///   x                [B, k]  float64, rows contiguous: starts; unit vectors at the end
///   value, residual  [B]     float64, contiguous: T[x, x, x] and |T[x, x, .] - value x| at the end
///
/// With shift >= 2 max_x ||T[x, ., .]|| (2 ||T||_F is enough) value rises from step to step and its
/// limit is an eigenvalue; a smaller shift is faster and promises nothing. A row that is zero, or
/// whose y vanishes, stays as it is. t and determinism as in contract3; num_steps + 1 contractions.
///
/// Throws ShapeError, DTypeError, DeviceError, ValueError; NotCompiled without that backend.
void higher_order_power(const Context& ctx, const TensorView& t, const TensorView& x, double shift,
                        index_t num_steps, const TensorView& value, const TensorView& residual);

}  // namespace hesscope
