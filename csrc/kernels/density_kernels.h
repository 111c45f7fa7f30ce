#pragma once

#include "hesscope/density.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

HESSCOPE_DECLARE_IN_EVERY_BACKEND(
    void smoothed_density(const Context& ctx, MatrixView<const double> nodes,
                          MatrixView<const double> weights, VectorView<const double> grid,
                          double sigma, MatrixView<double> out);

    void smoothed_cdf(const Context& ctx, MatrixView<const double> nodes,
                      MatrixView<const double> weights, VectorView<const double> grid, double sigma,
                      MatrixView<double> out);)

}  // namespace hesscope
