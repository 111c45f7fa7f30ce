#pragma once

#include <span>
#include <vector>

#include "hesscope/lanczos_run.h"

namespace hesscope {

/// Gauss quadratures of the probes' spectral measures: sum_j weights[k, j] f(nodes[k, j]) is
/// <z_k, f(H) z_k> / <z_k, z_k>, exactly for polynomials of degree at most 2 m - 1.
struct Quadrature {
  index_t num_probes = 0, num_nodes = 0;
  std::vector<double> nodes;    // [K, m], ascending in a row
  std::vector<double> weights;  // [K, m], non-negative, a row sums to 1

  std::span<const double> nodes_of(index_t k) const { return row(nodes, k); }
  std::span<const double> weights_of(index_t k) const { return row(weights, k); }

 private:
  std::span<const double> row(const std::vector<double>& values, index_t k) const {
    return std::span(values).subspan(static_cast<std::size_t>(k * num_nodes),
                                     static_cast<std::size_t>(num_nodes));
  }
};

/// Nodes and weights from the tridiagonal matrices (Golub and Welsch 1969); on the host.
/// A recurrence that ended early is padded with its last node at weight 0.
Quadrature quadrature(const Context& ctx, const LanczosRun& run);

/// A value and the half-width of its 95 % interval; infinite where one probe says nothing.
struct Estimate {
  double value = 0, error = 0;
};

/// Mean over the probes with Student's t-interval.
Estimate mean_estimate(std::span<const double> per_probe);

/// tr H^power = mean of <z, z> sum_j weights[j] nodes[j]^power; sampling error only.
Estimate trace_estimate(const LanczosRun& run, const Quadrature& q, int power = 1);

/// An interval that holds the spectrum.
struct SpectrumBounds {
  double lower = 0, upper = 0;
};

/// From the extreme nodes of K random starts: fails with probability at most 5 % for starts uniform
/// on the sphere (Kuczynski and Wozniakowski 1992, theorem 4.2). Infinite where too few steps say
/// nothing; the extreme nodes themselves where a recurrence ended.
SpectrumBounds random_start_bounds(const LanczosRun& run, const Quadrature& q);

/// Bound on the Wasserstein-1 distance between a probe's quadrature and its measure, supported in
/// [low, high]: sum_{j=0..m} max(w_j, w_{j+1}) (t_{j+1} - t_j) with w_0 = w_{m+1} = 0, t_0 = low
/// and t_{m+1} = high. It follows from the Chebyshev-Markov-Stieltjes inequalities.
double wasserstein_bound(std::span<const double> nodes, std::span<const double> weights, double low,
                         double high);

/// Wasserstein-1 distance of two discrete measures of total weight 1, points ascending. O(sizes).
double wasserstein_distance(std::span<const double> points_a, std::span<const double> weights_a,
                            std::span<const double> points_b, std::span<const double> weights_b);

}  // namespace hesscope
