#include "kernels/scaling_kernels.h"

namespace hesscope::reference {

template <typename T>
void scale_columns(const Context&, VectorView<const T> d, MatrixView<const T> x, MatrixView<T> y) {
  for (index_t r = 0; r < x.rows; ++r) {
    for (index_t i = 0; i < x.cols; ++i) y.row(r)[i] = d[i] * x.row(r)[i];
  }
}

HESSCOPE_INSTANTIATE_SCALING(float)
HESSCOPE_INSTANTIATE_SCALING(double)

}  // namespace hesscope::reference
