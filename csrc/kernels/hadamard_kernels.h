#pragma once

#include "hesscope/context.h"
#include "hesscope/view.h"
#include "kernels/declare.h"

namespace hesscope {

HESSCOPE_DECLARE_IN_EVERY_BACKEND(template <typename T> void walsh_hadamard(const Context& ctx,
                                                                            MatrixView<T> x,
                                                                            T scale);)

}  // namespace hesscope

#define HESSCOPE_INSTANTIATE_HADAMARD(T) \
  template void walsh_hadamard<T>(const Context&, MatrixView<T>, T);
