#include "kernels/factor_sum_kernels.h"

namespace hesscope::reference {

template <typename T>
void factor_sum(const Context&, const FactorSum<T>& s) {
  for (index_t k = 0; k < s.shape[0]; ++k) {
    for (index_t a = 0; a < s.shape[1]; ++a) {
      for (index_t b = 0; b < s.shape[2]; ++b) {
        for (index_t c = 0; c < s.shape[3]; ++c) {
          long double sum = 0;
          for (int j = 0; j < s.count; ++j) {
            const long double factor = s.factor[j].row(k, a, b)[c * s.factor[j].stride[3]];
            sum += factor * s.tangent[j].row(k, a, b)[c * s.tangent[j].stride[3]];
          }
          sum *= s.scale;
          T& out = s.out.row(k, a, b)[c];
          out = static_cast<T>(s.add ? out + sum : sum);
        }
      }
    }
  }
}

HESSCOPE_INSTANTIATE_FACTOR_SUM(float)
HESSCOPE_INSTANTIATE_FACTOR_SUM(double)

}  // namespace hesscope::reference
