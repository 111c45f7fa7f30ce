#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

HESSCOPE_DECLARE_IN_EVERY_BACKEND(template <typename T>
                                  void scale_columns(const Context& ctx, VectorView<const T> d,
                                                     MatrixView<const T> x, MatrixView<T> y);)

}  // namespace hesscope

#define HESSCOPE_INSTANTIATE_SCALING(T)                                                    \
  template void scale_columns<T>(const Context&, VectorView<const T>, MatrixView<const T>, \
                                 MatrixView<T>);
