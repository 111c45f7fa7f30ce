#include <bit>
#include <cstdint>
#include <vector>

#include "kernels/hadamard_kernels.h"

namespace hesscope::reference {

template <typename T>
void walsh_hadamard(const Context&, MatrixView<T> x, T scale) {
  for (index_t r = 0; r < x.rows; ++r) {
    const std::vector<T> input(x.row(r), x.row(r) + x.cols);
    for (index_t i = 0; i < x.cols; ++i) {
      long double sum = 0;
      for (index_t j = 0; j < x.cols; ++j) {
        const bool negative = std::popcount(static_cast<std::uint64_t>(i & j)) % 2 != 0;
        const long double value = input[static_cast<std::size_t>(j)];
        sum += negative ? -value : value;
      }
      x.row(r)[i] = static_cast<T>(scale * sum);
    }
  }
}

HESSCOPE_INSTANTIATE_HADAMARD(float)
HESSCOPE_INSTANTIATE_HADAMARD(double)

}  // namespace hesscope::reference
