#pragma once

#include "hesscope/elementary.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

HESSCOPE_DECLARE_IN_EVERY_BACKEND(void elementary_map(const Context& ctx,
                                                      ElementaryFunction function,
                                                      VectorView<const double> x,
                                                      VectorView<double> out);)

}  // namespace hesscope
