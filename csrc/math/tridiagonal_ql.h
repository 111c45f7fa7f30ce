#pragma once

#include <cfloat>
#include <cmath>

#include "hesscope/types.h"
#include "math/abi.h"
#include "math/tridiagonal.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

/// A symmetric tridiagonal matrix on its way to diagonal form, and the first and last rows of the
/// product of the rotations applied so far. Borrowed memory, no allocation.
struct TridiagonalQl {
  double* d;      // [order]  diagonal; the eigenvalues in the end
  double* e;      // [order]  e[i] couples i and i + 1; e[order - 1] is scratch
  double* first;  // [order]
  double* last;   // [order]
  index_t order;
};

/// Sweeps allowed for one eigenvalue; 1.7 are usual.
inline constexpr int kQlMaxSweeps = 60;

/// From this sweep on couplings are compared with the norm of the matrix, which is 1, and no longer
/// with their neighbours: in a matrix graded downwards rounding keeps couplings at eps * norm
/// alive.
inline constexpr int kQlPatience = 30;

/// Turns the pair (f, g) into (0, r):  c * f = s * g,  s * f + c * g = r.
struct PlaneRotation {
  double c, s, r;
};

/// s = f / r, c = g / r, r = +-hypot(f, g), without overflow or harmful underflow.
HESSCOPE_HD PlaneRotation plane_rotation(double f, double g) {
  if (f == 0.0) return {1.0, 0.0, g};
  if (std::fabs(f) <= std::fabs(g)) {
    const double t = f / g, u = std::sqrt(1.0 + t * t);
    return {1.0 / u, t / u, g * u};
  }
  const double t = g / f, u = std::sqrt(1.0 + t * t);
  return {t / u, 1.0 / u, f * u};
}

/// Copy a matrix, scaled by a power of two to largest entry in [1/2, 1), into `ql`; set its order
/// and the exponent of the power. False if an entry is NaN or infinite.
HESSCOPE_HD bool ql_load(const double* alpha,  // [m]
                         const double* beta,   // [m]
                         index_t m, TridiagonalQl& ql, int& exponent) {
  const index_t order = tridiagonal_order(beta, m);
  double largest = 0;
  bool finite = true;
  for (index_t i = 0; i < order; ++i) {
    const double a = std::fabs(alpha[i]), b = i + 1 < order ? std::fabs(beta[i]) : 0.0;
    finite = finite && a <= DBL_MAX && b <= DBL_MAX;
    largest = a > largest ? a : largest;
    largest = b > largest ? b : largest;
  }
  ql.order = order;
  exponent = 0;
  if (!finite) return false;
  std::frexp(largest, &exponent);
  for (index_t i = 0; i < order; ++i) {
    ql.d[i] = std::ldexp(alpha[i], -exponent);
    ql.e[i] = i + 1 < order ? std::ldexp(beta[i], -exponent) : 0.0;
    ql.first[i] = i == 0 ? 1.0 : 0.0;
    ql.last[i] = i == order - 1 ? 1.0 : 0.0;
  }
  return true;
}

/// The last row of the unreduced block that starts at `l`.
HESSCOPE_HD index_t ql_block_end(const TridiagonalQl& ql, index_t l, int sweep) {
  index_t end = l;
  for (; end + 1 < ql.order; ++end) {
    const double neighbours = std::fabs(ql.d[end]) + std::fabs(ql.d[end + 1]);
    const double norm = sweep < kQlPatience ? neighbours : 1.0;
    if (std::fabs(ql.e[end]) <= DBL_EPSILON * norm + DBL_MIN) break;
  }
  return end;
}

/// Apply a rotation to columns i and i + 1 of one row of the eigenvectors.
HESSCOPE_HD void ql_rotate(double* z, index_t i, const PlaneRotation& q) {
  const double low = z[i], high = z[i + 1];
  z[i + 1] = q.s * low + q.c * high;
  z[i] = q.c * low - q.s * high;
}

/// One implicit QL sweep over the unreduced block [l, end] with Wilkinson's shift.
HESSCOPE_HD void ql_sweep(TridiagonalQl& ql, index_t l, index_t end) {
  double *d = ql.d, *e = ql.e;
  const double half = (d[l + 1] - d[l]) / (2.0 * e[l]);
  const double root = std::fabs(half) < 1e8 ? std::sqrt(half * half + 1.0) : std::fabs(half);
  double g = d[end] - d[l] + e[l] / (half + std::copysign(root, half));
  double shift = 0;
  PlaneRotation q{1.0, 1.0, 0.0};
  e[end] = 0.0;  // negligible now, but perhaps not next to the new d[end]
  for (index_t i = end - 1; i >= l; --i) {
    const double f = q.s * e[i], b = q.c * e[i];
    q = plane_rotation(f, g);
    if (i + 1 < end) e[i + 1] = q.r;
    if (q.r == 0.0) {  // f and g underflowed: the block falls apart here
      d[i + 1] -= shift;
      return;
    }
    g = d[i + 1] - shift;
    const double turn = (d[i] - g) * q.s + 2.0 * q.c * b;
    shift = q.s * turn;
    d[i + 1] = g + shift;
    g = q.c * turn - b;
    ql_rotate(ql.first, i, q);
    ql_rotate(ql.last, i, q);
  }
  d[l] -= shift;
  e[l] = g;
}

/// Diagonalise. False if an eigenvalue takes more than kQlMaxSweeps sweeps.
HESSCOPE_HD bool ql_iterate(TridiagonalQl& ql) {
  for (index_t l = 0; l < ql.order; ++l) {
    int sweep = 0;
    for (index_t end = ql_block_end(ql, l, 0); end > l; end = ql_block_end(ql, l, sweep)) {
      if (sweep++ == kQlMaxSweeps) return false;
      ql_sweep(ql, l, end);
    }
  }
  return true;
}

/// Eigenvalues ascending, components with them. QL leaves them nearly sorted, so insertion is
/// cheap.
HESSCOPE_HD void ql_sort(TridiagonalQl& ql) {
  for (index_t i = 1; i < ql.order; ++i) {
    const double d = ql.d[i], first = ql.first[i], last = ql.last[i];
    index_t j = i;
    for (; j > 0 && ql.d[j - 1] > d; --j) {
      ql.d[j] = ql.d[j - 1];
      ql.first[j] = ql.first[j - 1];
      ql.last[j] = ql.last[j - 1];
    }
    ql.d[j] = d;
    ql.first[j] = first;
    ql.last[j] = last;
  }
}

/// Undo the scaling, fix the signs and fill the rows after an early end.
HESSCOPE_HD void ql_store(TridiagonalQl& ql, int exponent, index_t m) {
  for (index_t i = 0; i < ql.order; ++i) {
    ql.d[i] = std::ldexp(ql.d[i], exponent);
    if (ql.first[i] < 0.0) ql.last[i] = -ql.last[i];
    ql.first[i] = std::fabs(ql.first[i]);
  }
  for (index_t i = ql.order; i < m; ++i) {
    ql.d[i] = ql.d[ql.order - 1];
    ql.first[i] = 0.0;
    ql.last[i] = 0.0;
  }
}

/// Eigenvalues of one matrix, ascending, and the first and last components of its eigenvectors
/// (hesscope/tridiagonal.h). Golub & Welsch (1969) with the implicit QL of Dubrulle, Martin and
/// Wilkinson (1968): two rows of the eigenvectors cost O(m^2), all of them O(m^3).
HESSCOPE_HD void tridiagonal_ql(const double* alpha,  // [m]
                                const double* beta,   // [m]
                                index_t m,
                                double* nodes,   // [m]
                                double* first,   // [m]
                                double* last,    // [m]
                                double* scratch  // [m]
) {
  TridiagonalQl ql{nodes, scratch, first, last, m};
  int exponent = 0;
  if (ql_load(alpha, beta, m, ql, exponent) && ql_iterate(ql)) {
    ql_sort(ql);
    ql_store(ql, exponent, m);
    return;
  }
  for (index_t i = 0; i < m; ++i) nodes[i] = first[i] = last[i] = NAN;
}

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
