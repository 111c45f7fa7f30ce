#include <cmath>
#include <numbers>

#include "kernels/density_kernels.h"

namespace hesscope::reference {
namespace {

/// out[b, g] = sum_j weights[b, j] * term(grid[g] - nodes[b, j])
template <typename Term>
void smooth(MatrixView<const double> nodes, MatrixView<const double> weights,
            VectorView<const double> grid, MatrixView<double> out, const Term& term) {
  for (index_t b = 0; b < out.rows; ++b) {
    for (index_t g = 0; g < out.cols; ++g) {
      long double sum = 0;
      for (index_t j = 0; j < nodes.cols; ++j) {
        const long double distance = static_cast<long double>(grid[g]) - nodes.row(b)[j];
        sum += weights.row(b)[j] * term(distance);
      }
      out.row(b)[g] = static_cast<double>(sum);
    }
  }
}

}  // namespace

void smoothed_density(const Context&, MatrixView<const double> nodes,
                      MatrixView<const double> weights, VectorView<const double> grid, double sigma,
                      MatrixView<double> out) {
  smooth(nodes, weights, grid, out, [&](long double distance) {
    const long double z = distance / sigma;
    return std::exp(-z * z / 2) / (sigma * std::sqrt(2 * std::numbers::pi_v<long double>));
  });
}

void smoothed_cdf(const Context&, MatrixView<const double> nodes, MatrixView<const double> weights,
                  VectorView<const double> grid, double sigma, MatrixView<double> out) {
  smooth(nodes, weights, grid, out, [&](long double distance) {
    if (sigma == 0 && !std::isnan(distance)) return distance >= 0 ? 1.0L : 0.0L;
    return std::erfc(-distance / (sigma * std::numbers::sqrt2_v<long double>)) / 2;
  });
}

}  // namespace hesscope::reference
