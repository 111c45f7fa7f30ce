#include "hesscope/quadrature.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "hesscope/tridiagonal.h"

namespace hesscope {
namespace {

/// 97.5 % quantile of Student's t (Fisher and Cornish 1960 from 31 degrees of freedom on, where
/// its relative error is below 1e-6).
double student_quantile(index_t degrees) {
  constexpr double kTable[] = {
      12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216, 2.22814,
      2.20099, 2.17881, 2.16037, 2.14479, 2.13145, 2.11991, 2.10982, 2.10092, 2.09302, 2.08596,
      2.07961, 2.07387, 2.06866, 2.06390, 2.05954, 2.05553, 2.05183, 2.04841, 2.04523, 2.04227};
  if (degrees <= std::ssize(kTable)) return kTable[degrees - 1];
  constexpr double z = 1.959963984540054, z2 = z * z;
  const double nu = static_cast<double>(degrees);
  return z + z * ((z2 + 1) / (4 * nu) + ((5 * z2 + 16) * z2 + 3) / (96 * nu * nu) +
                  (((3 * z2 + 19) * z2 + 17) * z2 - 15) / (384 * nu * nu * nu));
}

/// A borrowed row-major matrix of host memory.
TensorView host_matrix(const double* data, index_t rows, index_t columns) {
  TensorView view;
  view.data = const_cast<double*>(data);  // an input: not written
  view.dtype = DType::f64;
  view.ndim = 2;
  view.shape = {rows, columns};
  view.stride = {columns, 1};
  return view;
}

}  // namespace

Quadrature quadrature(const Context& ctx, const LanczosRun& run) {
  const index_t k = run.num_probes, m = run.num_steps;
  const auto count = static_cast<std::size_t>(k * m);
  Quadrature q{.num_probes = k,
               .num_nodes = m,
               .nodes = std::vector<double>(count),
               .weights = std::vector<double>(count)};
  std::vector<double> last(count);
  const Buffer workspace({}, tridiagonal_eigen_workspace_bytes(k, m));
  const Context host{.backend = ctx.backend == Backend::cuda ? Backend::cpu : ctx.backend,
                     .device = {},
                     .stream = nullptr,
                     .workspace = workspace.span(),
                     .num_threads = ctx.num_threads};
  tridiagonal_eigen(host, host_matrix(run.alpha.data(), k, m), host_matrix(run.beta.data(), k, m),
                    host_matrix(q.nodes.data(), k, m), host_matrix(q.weights.data(), k, m),
                    host_matrix(last.data(), k, m));
  for (double& weight : q.weights) weight *= weight;
  return q;
}

Estimate mean_estimate(std::span<const double> per_probe) {
  const auto count = static_cast<double>(per_probe.size());
  double mean = 0, squares = 0;
  for (const double value : per_probe) mean += value / count;
  for (const double value : per_probe) squares += (value - mean) * (value - mean);
  if (per_probe.size() < 2)
    return {.value = mean, .error = std::numeric_limits<double>::infinity()};
  const double standard_error = std::sqrt(squares / (count - 1) / count);
  return {.value = mean, .error = student_quantile(std::ssize(per_probe) - 1) * standard_error};
}

Estimate trace_estimate(const LanczosRun& run, const Quadrature& q, int power) {
  std::vector<double> per_probe;
  for (index_t k = 0; k < q.num_probes; ++k) {
    double sum = 0;
    for (index_t j = 0; j < q.num_nodes; ++j) {
      sum += q.weights_of(k)[j] * std::pow(q.nodes_of(k)[j], power);
    }
    per_probe.push_back(run.norm_square[k] * sum);
  }
  return mean_estimate(per_probe);
}

SpectrumBounds random_start_bounds(const LanczosRun& run, const Quadrature& q) {
  const auto [least, most] = std::minmax_element(q.nodes.begin(), q.nodes.end());
  const double low = *least, high = *most;
  if (std::find(run.beta.begin(), run.beta.end(), 0.0) != run.beta.end()) return {low, high};
  const double each = std::pow(0.025, 1 / static_cast<double>(q.num_probes));
  const double n = static_cast<double>(run.n), steps = static_cast<double>(run.num_steps);
  const double exponent = std::log(1.648 * std::sqrt(n) / each) / (2 * steps - 1);
  const double eps = std::pow(std::max(exponent, 0.0), 2);
  if (eps >= 0.5) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    return {-kInfinity, kInfinity};
  }
  // Both ends together: spread <= (high - low) + 2 eps spread.
  const double margin = eps * (high - low) / (1 - 2 * eps);
  return {low - margin, high + margin};
}

double wasserstein_bound(std::span<const double> nodes, std::span<const double> weights, double low,
                         double high) {
  // Padding after an early end is no node: the last real one is a neighbour of `high`.
  std::size_t m = nodes.size();
  while (m > 1 && weights[m - 1] == 0 && nodes[m - 1] == nodes[m - 2]) --m;
  double bound = 0, weight_before = 0, before = low;
  for (std::size_t j = 0; j < m; ++j) {
    bound += std::max(weight_before, weights[j]) * (nodes[j] - before);
    weight_before = weights[j];
    before = nodes[j];
  }
  return bound + weight_before * (high - before);
}

double wasserstein_distance(std::span<const double> points_a, std::span<const double> weights_a,
                            std::span<const double> points_b, std::span<const double> weights_b) {
  // The integral of |F_a - F_b| between neighbouring points of either.
  double distance = 0, gap = 0;
  std::size_t a = 0, b = 0;
  double before = std::min(points_a[0], points_b[0]);
  while (a < points_a.size() || b < points_b.size()) {
    const bool from_a = b == points_b.size() || (a < points_a.size() && points_a[a] <= points_b[b]);
    const double point = from_a ? points_a[a] : points_b[b];
    distance += std::abs(gap) * (point - before);
    gap += from_a ? weights_a[a++] : -weights_b[b++];
    before = point;
  }
  return distance;
}

}  // namespace hesscope
