#include "kernels/sparse_kernels.h"

namespace hesscope::reference {

template <typename T, typename I>
void csr_matvec(const Context&, VectorView<const std::int64_t> row_start,
                VectorView<const I> columns, VectorView<const T> values, MatrixView<const T> x,
                MatrixView<T> y) {
  for (index_t r = 0; r < y.rows; ++r) {
    for (index_t i = 0; i < y.cols; ++i) {
      long double sum = 0;
      for (index_t p = row_start[i]; p < row_start[i + 1]; ++p) {
        sum += static_cast<long double>(values[p]) * static_cast<long double>(x.row(r)[columns[p]]);
      }
      y.row(r)[i] = static_cast<T>(sum);
    }
  }
}

HESSCOPE_FOR_EACH_CSR_TYPE(HESSCOPE_INSTANTIATE_SPARSE)

}  // namespace hesscope::reference
