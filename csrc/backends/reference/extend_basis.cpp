#include "kernels/extend_basis_kernels.h"

namespace hesscope::reference {

template <typename T>
void extend_basis(const Context&, BatchView<T> q, MatrixView<T> v, MatrixView<const T> w,
                  MatrixView<const double> before, MatrixView<const double> after,
                  MatrixView<double> d) {
  using Wide = long double;
  const index_t j = q.rows - 1;
  for (index_t b = 0; b < q.batch; ++b) {
    const MatrixView<T> rows = q.matrix(b);
    for (index_t i = 0; i < q.cols; ++i) {
      Wide x = static_cast<Wide>(before.row(b)[j]) * static_cast<Wide>(v.row(b)[i]);
      for (index_t k = 0; k < j; ++k) {
        x += static_cast<Wide>(before.row(b)[k]) * static_cast<Wide>(rows.row(k)[i]);
      }
      rows.row(j)[i] = static_cast<T>(x);
      Wide r = static_cast<Wide>(after.row(b)[j + 1]) * static_cast<Wide>(w.row(b)[i]);
      for (index_t k = 0; k <= j; ++k) {
        r += static_cast<Wide>(after.row(b)[k]) * static_cast<Wide>(rows.row(k)[i]);
      }
      v.row(b)[i] = static_cast<T>(r);
    }
    for (index_t k = 0; k <= j + 1; ++k) {
      const T* left = k <= j ? rows.row(k) : v.row(b);
      Wide sum = static_cast<Wide>(d.row(b)[k]);
      for (index_t i = 0; i < q.cols; ++i) {
        sum += static_cast<Wide>(left[i]) * static_cast<Wide>(v.row(b)[i]);
      }
      d.row(b)[k] = static_cast<double>(sum);
    }
  }
}

HESSCOPE_INSTANTIATE_EXTEND_BASIS(float)
HESSCOPE_INSTANTIATE_EXTEND_BASIS(double)

}  // namespace hesscope::reference
