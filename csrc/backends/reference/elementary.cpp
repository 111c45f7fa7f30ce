#include <cmath>
#include <numbers>

#include "kernels/elementary_kernels.h"

namespace hesscope::reference {
namespace {

long double sinpi(long double x) {
  int quotient = 0;
  const long double r = std::remquo(x, 1.0L, &quotient);  // exact, within [-1/2, 1/2]
  const long double sine = std::sin(std::numbers::pi_v<long double> * r);
  return quotient % 2 == 0 ? sine : -sine;
}

long double value(ElementaryFunction function, long double x) {
  switch (function) {
    case ElementaryFunction::exp:
      return std::exp(x);
    case ElementaryFunction::log:
      return std::log(x);
    case ElementaryFunction::sinpi:
      return sinpi(x);
    case ElementaryFunction::cospi:
      return sinpi(x + 0.5L);
    case ElementaryFunction::normal_cdf:
      return std::erfc(-x / std::numbers::sqrt2_v<long double>) / 2;
  }
  return 0;
}

}  // namespace

void elementary_map(const Context&, ElementaryFunction function, VectorView<const double> x,
                    VectorView<double> out) {
  for (index_t i = 0; i < x.size; ++i) out[i] = static_cast<double>(value(function, x[i]));
}

}  // namespace hesscope::reference
