#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/tridiagonal_kernels.h"

namespace hesscope::reference {
namespace {

using Real = long double;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// A dense symmetric matrix and the eigenvectors found so far, as columns.
struct Dense {
  index_t order;
  std::vector<Real> entry, vector;  // [order, order] each

  explicit Dense(index_t size)
      : order(size),
        entry(static_cast<std::size_t>(size * size)),
        vector(static_cast<std::size_t>(size * size)) {
    for (index_t i = 0; i < size; ++i) v(i, i) = 1;
  }
  Real& a(index_t i, index_t j) { return entry[static_cast<std::size_t>(i * order + j)]; }
  Real& v(index_t i, index_t j) { return vector[static_cast<std::size_t>(i * order + j)]; }
};

/// Rows of the matrix: up to the first beta that is 0.
index_t order_of(MatrixView<const double> beta, index_t b) {
  index_t order = 1;
  while (order < beta.cols && beta.row(b)[order - 1] != 0.0) ++order;
  return order;
}

/// The rotation of rows and columns p, q that makes a(p, q) zero (Golub & Van Loan 2013, 8.5).
void annihilate(Dense& m, index_t p, index_t q) {
  if (m.a(p, q) == 0) return;
  const Real tau = (m.a(q, q) - m.a(p, p)) / (2 * m.a(p, q));
  const Real t = (tau < 0 ? -1 : 1) / (std::fabs(tau) + std::hypot(Real(1), tau));
  const Real c = 1 / std::sqrt(1 + t * t), s = t * c;
  for (index_t i = 0; i < m.order; ++i) {
    const Real left = m.a(i, p), right = m.a(i, q);
    m.a(i, p) = c * left - s * right;
    m.a(i, q) = s * left + c * right;
    const Real v_left = m.v(i, p), v_right = m.v(i, q);
    m.v(i, p) = c * v_left - s * v_right;
    m.v(i, q) = s * v_left + c * v_right;
  }
  for (index_t i = 0; i < m.order; ++i) {
    const Real upper = m.a(p, i), lower = m.a(q, i);
    m.a(p, i) = c * upper - s * lower;
    m.a(q, i) = s * upper + c * lower;
  }
}

/// Cyclic Jacobi (Jacobi 1846): sweeps until the off-diagonal part is negligible.
void diagonalise(Dense& m) {
  constexpr int kSweeps = 60;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    Real off = 0, norm = 0;
    for (index_t i = 0; i < m.order; ++i) {
      for (index_t j = 0; j < m.order; ++j) {
        (i == j ? norm : off) = std::max(i == j ? norm : off, std::fabs(m.a(i, j)));
      }
    }
    if (off <= std::numeric_limits<Real>::epsilon() * norm / 16) return;
    for (index_t p = 0; p < m.order; ++p) {
      for (index_t q = p + 1; q < m.order; ++q) annihilate(m, p, q);
    }
  }
}

}  // namespace

void tridiagonal_eigen(const Context&, MatrixView<const double> alpha,
                       MatrixView<const double> beta, MatrixView<double> nodes,
                       MatrixView<double> first, MatrixView<double> last) {
  for (index_t b = 0; b < alpha.rows; ++b) {
    const index_t order = order_of(beta, b);
    Dense m(order);
    bool finite = true;
    for (index_t i = 0; i < order; ++i) {
      m.a(i, i) = alpha.row(b)[i];
      if (i + 1 < order) m.a(i, i + 1) = m.a(i + 1, i) = beta.row(b)[i];
      finite =
          finite && std::isfinite(m.a(i, i)) && (i + 1 == order || std::isfinite(m.a(i, i + 1)));
    }
    if (finite) diagonalise(m);

    std::vector<index_t> ascending(static_cast<std::size_t>(order));
    std::iota(ascending.begin(), ascending.end(), index_t{0});
    if (finite) {
      std::sort(ascending.begin(), ascending.end(),
                [&](index_t i, index_t j) { return m.a(i, i) < m.a(j, j); });
    }
    for (index_t i = 0; i < alpha.cols; ++i) {
      const bool padding = i >= order;
      const index_t j = ascending[static_cast<std::size_t>(padding ? order - 1 : i)];
      const Real sign = m.v(0, j) < 0 ? -1 : 1;
      nodes.row(b)[i] = finite ? static_cast<double>(m.a(j, j)) : kNaN;
      first.row(b)[i] = !finite ? kNaN : padding ? 0 : static_cast<double>(sign * m.v(0, j));
      last.row(b)[i] = !finite ? kNaN : padding ? 0 : static_cast<double>(sign * m.v(order - 1, j));
    }
  }
}

namespace {

/// The next leading principal minor of T - x; beyond every finite eigenvalue only its sign is
/// right.
Real next_minor(double alpha, double coupling, double x, Real minor, Real before) {
  if (std::isnan(alpha) || std::isnan(coupling) || std::isnan(x)) return kNaN;
  if (std::isinf(x)) return x > 0 ? -minor : minor;
  return (Real(alpha) - x) * minor - Real(coupling) * coupling * before;
}

}  // namespace

// Givens (1954): the leading principal minors p_0 = 1, p_1, ... of T - x change sign once for every
// eigenvalue below x; a minor of 0 takes the sign of the one before. Only signs and ratios matter,
// so two neighbours are rescaled at every step, by a power of two: small integers stay exact.
void sturm_count(const Context&, MatrixView<const double> alpha, MatrixView<const double> beta,
                 VectorView<const double> x, MatrixView<std::int64_t> counts) {
  for (index_t b = 0; b < alpha.rows; ++b) {
    for (index_t p = 0; p < x.size; ++p) {
      Real before = 0, minor = 1;
      std::int64_t count = 0;
      bool negative = false;
      for (index_t i = 0; i < order_of(beta, b); ++i) {
        const double coupling = i == 0 ? 0 : beta.row(b)[i - 1];
        const Real next = next_minor(alpha.row(b)[i], coupling, x[p], minor, before);
        int exponent = 0;
        std::frexp(std::max(std::fabs(minor), std::fabs(next)), &exponent);
        before = std::ldexp(minor, -exponent);
        minor = std::ldexp(next, -exponent);
        const bool now_negative = minor == 0 ? negative : minor < 0;
        count += now_negative != negative ? 1 : 0;
        negative = now_negative;
      }
      counts.row(b)[p] = std::isnan(minor) ? -1 : count;
    }
  }
}

}  // namespace hesscope::reference
