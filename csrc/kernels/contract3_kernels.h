#pragma once

#include "hesscope/contract3.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

HESSCOPE_DECLARE_IN_EVERY_BACKEND(
    void contract3(const Context& ctx, const double* t, MatrixView<const double> u,
                   MatrixView<const double> v, MatrixView<double> out);

    void contract3_scalar(const Context& ctx, const double* t, MatrixView<const double> u,
                          MatrixView<const double> v, MatrixView<const double> w, double* out);

    void higher_order_power(const Context& ctx, const double* t, MatrixView<double> x, double shift,
                            index_t num_steps, double* value, double* residual);)

}  // namespace hesscope
