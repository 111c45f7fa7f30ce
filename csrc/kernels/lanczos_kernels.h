#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

HESSCOPE_DECLARE_IN_EVERY_BACKEND(
    template <typename T> void lanczos_update(const Context& ctx, MatrixView<const T> w,
                                              MatrixView<const T> v, MatrixView<const T> v_prev,
                                              MatrixView<T> next, MatrixView<double> state,
                                              VectorView<double> alpha, VectorView<double> beta,
                                              double breakdown_tolerance);)

}  // namespace hesscope

#define HESSCOPE_INSTANTIATE_LANCZOS(T)                                                     \
  template void lanczos_update<T>(const Context&, MatrixView<const T>, MatrixView<const T>, \
                                  MatrixView<const T>, MatrixView<T>, MatrixView<double>,   \
                                  VectorView<double>, VectorView<double>, double);
