#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// Products of dense matrices:   c[b] = alpha * a[b] * x[b] + beta * c[b].
///
///   a  [B, m, k]  any non-negative strides: a transpose is a view; batch stride 0 is one matrix
///   x  [B, k, n]  likewise
///   c  [B, m, n]  rows contiguous, read only if beta != 0 (output; must not alias the inputs)
///
/// All three are float32 or all are float64; sums are in that dtype, alpha and beta are rounded to
/// it. k == 0 or alpha == 0 multiplies c by beta and reads neither a nor x; B == 0, m == 0 or n ==
/// 0 is a no-op. Deterministic: an element depends on its row of a, its column of x, alpha and beta
/// only, not on m, n, B or threads. Products and sums are fused where the instruction set can; a
/// build with HESSCOPE_BLAS=ON hands the CPU's work to that library and promises none of this. 2 B
/// m n k operations. Reads B (m k + k n) elements, reads and writes B m n.
///
/// Throws ShapeError, DTypeError, DeviceError, ValueError, WorkspaceError; NotCompiled without that
/// backend.
void gemm(const Context& ctx, double alpha, const TensorView& a, const TensorView& x, double beta,
          const TensorView& c);

/// Bytes of workspace gemm needs: packed copies of parts of a and x, at most 17 MB.
index_t gemm_workspace_bytes(index_t m, index_t n, index_t k, DType dtype);

}  // namespace hesscope
