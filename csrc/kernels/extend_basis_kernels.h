#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

/// Interleaved sums of a row of the basis that a CPU thread keeps in the workspace.
inline constexpr index_t kExtendBasisChains = 16;

HESSCOPE_DECLARE_IN_EVERY_BACKEND(
    template <typename T> void extend_basis(const Context& ctx, BatchView<T> q, MatrixView<T> v,
                                            MatrixView<const T> w, MatrixView<const double> before,
                                            MatrixView<const double> after, MatrixView<double> d);)

}  // namespace hesscope

#define HESSCOPE_INSTANTIATE_EXTEND_BASIS(T)                                                      \
  template void extend_basis<T>(const Context&, BatchView<T>, MatrixView<T>, MatrixView<const T>, \
                                MatrixView<const double>, MatrixView<const double>,               \
                                MatrixView<double>);
