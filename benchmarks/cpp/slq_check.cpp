#include "slq_check.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "data.h"
#include "matrices.h"

namespace hesscope::bench {
namespace {

/// 0 / 0 is no error.
double over(double error, double bound) { return error == 0 ? 0 : error / bound; }

double dot(const TensorView& a, const TensorView& b) {
  double sum = 0;
  for (index_t i = 0; i < a.shape[0]; ++i) sum += element(a, i) * element(b, i);
  return sum;
}

/// The same numbers in float64.
Tensor widened(const Tensor& t) {
  Tensor wide({}, DType::f64, {t.view().shape[0], t.view().shape[1]});
  for (index_t r = 0; r < wide.view().shape[0]; ++r) {
    const TensorView row = select(t, 0, r);
    for (index_t i = 0; i < row.shape[0]; ++i) wide.row<double>(r)[i] = element(row, i);
  }
  return wide;
}

Tensor apply(Context ctx, const Operator& h, const Tensor& x) {
  const index_t rows = x.view().shape[0];
  const Buffer workspace(ctx.device, h.workspace_bytes(rows));
  ctx.workspace = workspace.span();
  Tensor y = poisoned(ctx, h.dtype(), {rows, h.size()});
  h.apply(ctx, x, y);
  return y;
}

/// One probe of the run, as the backend under test draws it.
Tensor draw_probe(const Context& ctx, const Operator& h, const LanczosOptions& options,
                  index_t number) {
  Tensor z(ctx.device, h.dtype(), {1, h.size()});
  const ProbeSpec spec{.kind = options.kind,
                       .seed = options.seed,
                       .first_probe = options.first_probe + number,
                       .first_index = 0};
  probes(ctx, spec, z);
  return z;
}

}  // namespace

double SlqCheck::rounding(index_t steps) const {
  return static_cast<double>(steps) * (h_.rounding() + 8 * epsilon(h_.dtype()));
}

double SlqCheck::product_error(const BoundedOperator& oracle) const {
  const Tensor x = random_tensor(h_.dtype(), {2, h_.size()}, 7), wide = widened(x);
  const Context ctx = suite_.context();
  const Tensor got = widened(to_host(ctx, apply(ctx, h_, to_device(ctx, x, ctx.device))));
  const Tensor want = apply(suite_.reference(), oracle, wide);
  double worst = 0;
  for (index_t r = 0; r < 2; ++r) {
    double error = 0;
    for (index_t i = 0; i < h_.size(); ++i) {
      error += std::pow(got.row<double>(r)[i] - want.row<double>(r)[i], 2);
    }
    const TensorView row = select(wide, 0, r);
    const double bound = (h_.rounding() + oracle.rounding()) * h_.norm() * std::sqrt(dot(row, row));
    worst = worse(worst, over(std::sqrt(error), bound));
  }
  return worst;
}

double SlqCheck::moment_error(const BoundedOperator& oracle, const LanczosRun& run,
                              const Quadrature& q) const {
  double worst = 0;
  for (index_t k = 0; k < q.num_probes; ++k) {
    const Context ctx = suite_.context();
    const Tensor z = widened(to_host(ctx, draw_probe(ctx, h_, options_, k)));
    const Tensor hz = apply(suite_.reference(), oracle, z);
    const Tensor hhz = apply(suite_.reference(), oracle, hz);
    const TensorView x = select(z, 0, 0), y = select(hz, 0, 0), w = select(hhz, 0, 0);
    const double total = run.norm_square[k];
    const double exact[] = {dot(x, y) / total, dot(y, y) / total, dot(y, w) / total,
                            dot(w, w) / total};
    worst = worse(worst, moment_ratio(q, k, exact, oracle.rounding()));
  }
  return worst;
}

double SlqCheck::moment_ratio(const Quadrature& q, index_t k, std::span<const double> exact,
                              double exact_rounding) const {
  const double eps = std::numeric_limits<double>::epsilon();
  double worst = 0;
  for (int j = 1; j <= std::min<index_t>(4, 2 * q.num_nodes - 1); ++j) {
    double moment = 0;
    for (index_t i = 0; i < q.num_nodes; ++i) {
      moment += q.weights_of(k)[i] * std::pow(q.nodes_of(k)[i], j);
    }
    // j products, sums of n terms for the exact moment and of m terms in the eigenproblem.
    const double relative = j * (rounding(1) + exact_rounding) +
                            static_cast<double>(4 * h_.size() + 8 * j * q.num_nodes) * eps;
    worst = worse(worst, over(std::abs(moment - exact[j - 1]), relative * std::pow(h_.norm(), j)));
  }
  return worst;
}

double SlqCheck::eigenbasis_error(const PrescribedSpectrumOperator& h,
                                  const std::vector<double>& eigenvalues) const {
  const Context ctx = suite_.context();
  const index_t n = h.size();
  const Tensor x = random_tensor(h.dtype(), {1, n}, 7);
  const Tensor device_x = to_device(ctx, x, ctx.device), hx = apply(ctx, h, device_x);
  const Tensor cx = poisoned(ctx, h.dtype(), {1, n}), chx = poisoned(ctx, h.dtype(), {1, n});
  h.to_eigenbasis(ctx, device_x, cx);
  h.to_eigenbasis(ctx, hx, chx);
  const Tensor host_cx = to_host(ctx, cx), host_chx = to_host(ctx, chx);
  const Tensor signs = to_host(ctx, h.signs());
  const TensorView a = select(host_cx, 0, 0), b = select(host_chx, 0, 0), row = select(x, 0, 0);

  double squares = 0;
  for (index_t i = 0; i < n; ++i) {
    squares += std::pow(element(b, i) - eigenvalues[i] * element(a, i), 2);
  }
  const double size = std::sqrt(dot(row, row));
  double worst = over(std::sqrt(squares), 2 * h.rounding() * h.norm() * size);

  // Signs are exact, so that S x may be formed in place. An entry of W x is at most |x|_1 = O(n).
  double sum = 0;
  for (index_t i = 0; i < n; ++i) {
    sum += std::abs(element(row, i));
    set_element(row, i, element(row, i) * element(signs, i));
  }
  const double scale = 1 / std::sqrt(static_cast<double>(n));
  for (const index_t i : sample_entries(n)) {
    const double error = std::abs(element(a, i) - scale * walsh_entry(row, i));
    worst = worse(worst, over(error, h.rounding() * scale * sum));
  }
  return worst;
}

double SlqCheck::sandwich_excess(const std::vector<double>& eigenvalues,
                                 const std::vector<double>& measure, std::span<const double> nodes,
                                 std::span<const double> weights) const {
  // Both distribution functions, taken a little to the left and to the right of each node.
  const double shift = rounding(std::ssize(nodes)) * h_.norm();
  double below = 0, excess = 0, left = 0, right = 0;
  std::size_t i_left = 0, i_right = 0;
  for (std::size_t j = 0; j < nodes.size(); ++j) {
    for (; i_left < measure.size() && eigenvalues[i_left] <= nodes[j] - shift; ++i_left) {
      left += measure[i_left];
    }
    for (; i_right < measure.size() && eigenvalues[i_right] <= nodes[j] + shift; ++i_right) {
      right += measure[i_right];
    }
    const double above = below + weights[j];
    excess = worse(excess, std::max(below - right, left - above));
    below = above;
  }
  return excess;
}

double SlqCheck::measure_error(const PrescribedSpectrumOperator& h,
                               const std::vector<double>& eigenvalues, const Quadrature& q) const {
  const Context ctx = suite_.context();
  const double low = eigenvalues.front(), high = eigenvalues.back();
  const double slack = rounding(q.num_nodes);
  double worst = 0;
  for (index_t k = 0; k < q.num_probes; ++k) {
    const Tensor z = draw_probe(ctx, h_, options_, k);
    const Tensor components(ctx.device, h.dtype(), {1, h.size()});
    h.to_eigenbasis(ctx, z, components);
    const Tensor host = to_host(ctx, components);
    const TensorView row = select(host, 0, 0);
    const double total = dot(row, row);
    std::vector<double> measure;
    measure.reserve(eigenvalues.size());
    double moments[4] = {};
    for (index_t i = 0; i < h.size(); ++i) {
      measure.push_back(std::pow(element(row, i), 2) / total);
      double term = measure.back();
      for (double& moment : moments) moment += term *= eigenvalues[i];
    }

    const auto nodes = q.nodes_of(k), weights = q.weights_of(k);
    const double excess = sandwich_excess(eigenvalues, measure, nodes, weights);
    worst = worse(worst, moment_ratio(q, k, moments, 2 * h.rounding()));
    const double distance = wasserstein_distance(nodes, weights, eigenvalues, measure);
    const double bound = wasserstein_bound(nodes, weights, std::min(low, nodes.front()),
                                           std::max(high, nodes.back()));
    worst = worse(worst, over(excess, slack));
    worst = worse(worst, over(distance, bound + slack * (h_.norm() + high - low)));
  }
  return worst;
}

double SlqCheck::spectrum_error(const std::vector<double>& eigenvalues, const Quadrature& q) const {
  const double bound = rounding(q.num_nodes) * h_.norm();
  double worst = 0;
  for (index_t k = 0; k < q.num_probes; ++k) {
    for (const double eigenvalue : eigenvalues) {
      double nearest = std::numeric_limits<double>::infinity();
      for (const double node : q.nodes_of(k)) {
        nearest = std::min(nearest, std::abs(node - eigenvalue));
      }
      worst = worse(worst, over(nearest, bound));
    }
  }
  return worst;
}

}  // namespace hesscope::bench
