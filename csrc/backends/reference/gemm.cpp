#include "kernels/gemm_kernels.h"

namespace hesscope::reference {

template <typename T>
void gemm(const Context&, T alpha, GemmOperand<T> a, GemmOperand<T> x, T beta, BatchView<T> c) {
  for (index_t b = 0; b < c.batch; ++b) {
    for (index_t i = 0; i < c.rows; ++i) {
      T* row = c.matrix(b).row(i);
      for (index_t j = 0; j < c.cols; ++j) {
        long double sum = 0;
        for (index_t p = 0; p < a.cols; ++p) {
          sum +=
              static_cast<long double>(*a.at(b, i, p)) * static_cast<long double>(*x.at(b, p, j));
        }
        sum *= static_cast<long double>(alpha);
        if (beta != 0) sum += static_cast<long double>(beta) * static_cast<long double>(row[j]);
        row[j] = static_cast<T>(sum);
      }
    }
  }
}

HESSCOPE_INSTANTIATE_GEMM(float)
HESSCOPE_INSTANTIATE_GEMM(double)

}  // namespace hesscope::reference
