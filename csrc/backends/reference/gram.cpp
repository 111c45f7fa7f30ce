#include "kernels/gram_kernels.h"
#include "math/widen.h"

namespace hesscope::reference {

template <typename Q, typename W>
void gram(const Context&, MatrixView<const Q> q, MatrixView<const W> w, MatrixView<double> out) {
  for (index_t i = 0; i < q.rows; ++i) {
    for (index_t j = 0; j < w.rows; ++j) {
      long double sum = 0;
      for (index_t c = 0; c < q.cols; ++c) {
        sum += static_cast<long double>(widen(q.row(i)[c])) *
               static_cast<long double>(widen(w.row(j)[c]));
      }
      out.row(i)[j] = static_cast<double>(sum);
    }
  }
}

HESSCOPE_FOR_EACH_GRAM_TYPE(HESSCOPE_INSTANTIATE_GRAM)

}  // namespace hesscope::reference
