#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

/// Partial sums of a matrix of inner products are kept per panel of this many columns, not per
/// slab: there are k * b of them.
inline constexpr index_t kGramPanel = 8 * kSlab;

constexpr index_t num_gram_panels(index_t n) { return n == 0 ? 1 : ceil_div(n, kGramPanel); }

/// Whether both views are the same rows: then the result is symmetric.
template <typename Q, typename W>
bool is_same_matrix(const MatrixView<Q>& q, const MatrixView<W>& w) {
  return static_cast<const void*>(q.data) == static_cast<const void*>(w.data) && q.rows == w.rows &&
         q.ld == w.ld;
}

HESSCOPE_DECLARE_IN_EVERY_BACKEND(template <typename Q, typename W>
                                  void gram(const Context& ctx, MatrixView<const Q> q,
                                            MatrixView<const W> w, MatrixView<double> out);)

}  // namespace hesscope

/// Every pair of storage types, for explicit instantiations: X(Q, W).
#define HESSCOPE_FOR_EACH_GRAM_TYPE(X)      \
  X(hesscope::bfloat16, hesscope::bfloat16) \
  X(hesscope::bfloat16, float)              \
  X(hesscope::bfloat16, double)             \
  X(float, hesscope::bfloat16)              \
  X(float, float)                           \
  X(float, double)                          \
  X(double, hesscope::bfloat16)             \
  X(double, float)                          \
  X(double, double)

#define HESSCOPE_INSTANTIATE_GRAM(Q, W)                                              \
  template void gram<Q, W>(const Context&, MatrixView<const Q>, MatrixView<const W>, \
                           MatrixView<double>);
