#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

HESSCOPE_DECLARE_IN_EVERY_BACKEND(template <typename Q, typename W>
                                  void multi_dot(const Context& ctx, BatchView<const Q> q,
                                                 MatrixView<const W> w, MatrixView<double> c);

                                  template <typename Q, typename W>
                                  void multi_axpy(const Context& ctx, BatchView<const Q> q,
                                                  MatrixView<const double> c, MatrixView<W> w,
                                                  double scale);)

}  // namespace hesscope

/// Every pair of storage types, for explicit instantiations: X(Q, W).
#define HESSCOPE_FOR_EACH_BASIS_TYPE(X) \
  X(hesscope::bfloat16, float)          \
  X(hesscope::bfloat16, double)         \
  X(float, float)                       \
  X(float, double)                      \
  X(double, float)                      \
  X(double, double)

#define HESSCOPE_INSTANTIATE_ORTHOGONALIZE(Q, W)                                               \
  template void multi_dot<Q, W>(const Context&, BatchView<const Q>, MatrixView<const W>,       \
                                MatrixView<double>);                                           \
  template void multi_axpy<Q, W>(const Context&, BatchView<const Q>, MatrixView<const double>, \
                                 MatrixView<W>, double);
