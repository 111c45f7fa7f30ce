#include "kernels/orthogonalize_kernels.h"
#include "math/widen.h"

namespace hesscope::reference {

template <typename Q, typename W>
void multi_dot(const Context&, BatchView<const Q> q, MatrixView<const W> w, MatrixView<double> c) {
  for (index_t b = 0; b < q.batch; ++b) {
    for (index_t j = 0; j < q.rows; ++j) {
      long double sum = 0;
      for (index_t i = 0; i < q.cols; ++i) {
        sum += static_cast<long double>(widen(q.matrix(b).row(j)[i])) *
               static_cast<long double>(widen(w.row(b)[i]));
      }
      c.row(b)[j] = static_cast<double>(sum);
    }
  }
}

template <typename Q, typename W>
void multi_axpy(const Context&, BatchView<const Q> q, MatrixView<const double> c, MatrixView<W> w,
                double scale) {
  for (index_t b = 0; b < q.batch; ++b) {
    for (index_t i = 0; i < q.cols; ++i) {
      long double sum = 0;
      for (index_t j = 0; j < q.rows; ++j) {
        sum += static_cast<long double>(c.row(b)[j]) *
               static_cast<long double>(widen(q.matrix(b).row(j)[i]));
      }
      w.row(b)[i] = static_cast<W>(static_cast<long double>(widen(w.row(b)[i])) +
                                   static_cast<long double>(scale) * sum);
    }
  }
}

HESSCOPE_FOR_EACH_BASIS_TYPE(HESSCOPE_INSTANTIATE_ORTHOGONALIZE)

}  // namespace hesscope::reference
