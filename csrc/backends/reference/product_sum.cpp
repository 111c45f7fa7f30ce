#include "kernels/product_sum_kernels.h"

namespace hesscope::reference {

template <typename T>
void product_sum(const Context&, const ProductSum<T>& sum, BatchView<T> out) {
  for (index_t a = 0; a < out.batch; ++a) {
    for (index_t b = 0; b < out.rows; ++b) {
      for (index_t c = 0; c < out.cols; ++c) {
        long double total = 0;
        for (int t = 0; t < sum.terms; ++t) {
          auto product = static_cast<long double>(sum.scale[t]);
          for (const int f : sum.factor[t]) {
            if (f < 0) break;
            product *= sum.operand[f].row(a, b)[sum.operand[f].one_column ? 0 : c];
          }
          total += product;
        }
        out.matrix(a).row(b)[c] = static_cast<T>(total);
      }
    }
  }
}

HESSCOPE_INSTANTIATE_PRODUCT_SUM(float)
HESSCOPE_INSTANTIATE_PRODUCT_SUM(double)

}  // namespace hesscope::reference
