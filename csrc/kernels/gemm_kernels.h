#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

/// A batch of matrices with any strides.
template <typename T>
struct GemmOperand {
  const T* data;
  index_t rows, cols, batch_stride, row_stride, col_stride;

  constexpr const T* at(index_t b, index_t row, index_t col) const {
    return data + b * batch_stride + row * row_stride + col * col_stride;
  }
};

/// Sums over k are cut into this many terms: each part is summed in one chain, and the parts are
/// added to c in their order.
inline constexpr index_t kGemmDepth = 256;

/// The CPU packs at most this many rows of a and columns of x at a time. Multiples of every tile.
inline constexpr index_t kGemmRows = 4032, kGemmColumns = 4096;

/// Rows of a and columns of x are packed in panels of at most this many; and room to align them.
inline constexpr index_t kGemmLargestPanel = 32, kGemmAlignment = 64;

/// Room for packed rows or columns, whole vectors of them.
constexpr index_t gemm_packed(index_t count, index_t most) {
  const index_t used = count < most ? count : most;
  return ceil_div(used + kGemmLargestPanel, kGemmLargestPanel) * kGemmLargestPanel;
}

HESSCOPE_DECLARE_IN_EVERY_BACKEND(template <typename T>
                                  void gemm(const Context& ctx, T alpha, GemmOperand<T> a,
                                            GemmOperand<T> x, T beta, BatchView<T> c);)

}  // namespace hesscope

#define HESSCOPE_INSTANTIATE_GEMM(T) \
  template void gemm<T>(const Context&, T, GemmOperand<T>, GemmOperand<T>, T, BatchView<T>);
