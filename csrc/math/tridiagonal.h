#pragma once

#include <cmath>

#include "hesscope/types.h"
#include "math/abi.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

/// Rows of the matrix that starts at row 0: it ends at the first coupling of exactly 0. NaN
/// couples.
HESSCOPE_HD index_t tridiagonal_order(const double* beta,  // [m]; beta[m - 1] is not read
                                      index_t m) {
  index_t j = 0;
  while (j + 1 < m && beta[j] != 0.0) ++j;
  return j + 1;
}

/// The next pivot of the LDL^T factors of T - x: alpha - x - beta^2 / pivot, where `beta` couples
/// this row to the one of `pivot`. The first row takes beta = 0 and pivot = 1.
///
/// A pivot of exactly 0 becomes +0: it does not count as negative, so that an eigenvalue equal to x
/// is not below x, and inside the matrix the next pivot is -inf and does count. Dividing first
/// keeps beta^2 from overflowing at 1e300 and from vanishing at 1e-300.
HESSCOPE_HD double sturm_pivot(double alpha, double beta, double x, double pivot) {
  const double next = alpha - x - beta * (beta / pivot);
  return next == 0.0 ? 0.0 : next;
}

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
