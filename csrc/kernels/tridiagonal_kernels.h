#pragma once

#include <cstdint>

#include "hesscope/context.h"
#include "hesscope/view.h"
#include "kernels/declare.h"

namespace hesscope {

HESSCOPE_DECLARE_IN_EVERY_BACKEND(
    void tridiagonal_eigen(const Context& ctx, MatrixView<const double> alpha,
                           MatrixView<const double> beta, MatrixView<double> nodes,
                           MatrixView<double> first, MatrixView<double> last);

    void sturm_count(const Context& ctx, MatrixView<const double> alpha,
                     MatrixView<const double> beta, VectorView<const double> x,
                     MatrixView<std::int64_t> counts);)

}  // namespace hesscope
