#pragma once

#include "hesscope/activation.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

HESSCOPE_DECLARE_IN_EVERY_BACKEND(template <typename T>
                                  void activation_derivatives(const Context& ctx, Activation f,
                                                              MatrixView<const T> x,
                                                              BatchView<T> out);)

}  // namespace hesscope

#define HESSCOPE_INSTANTIATE_ACTIVATION(T)                                                 \
  template void activation_derivatives<T>(const Context&, Activation, MatrixView<const T>, \
                                          BatchView<T>);
