#include "mlp_check.h"

#include <cmath>

#include "data.h"

namespace hesscope::bench {
namespace {

constexpr double kRoundings = 512;  // of eps and the norm: terms of the sums, layers, activations

Context host() {
  return {.backend = Backend::cpu, .device = {}, .stream = nullptr, .workspace = {}};
}

std::vector<double> combined(double a, std::span<const double> x, double b,
                             std::span<const double> y) {
  std::vector<double> sum;
  for (std::size_t i = 0; i < x.size(); ++i) sum.push_back(a * x[i] + b * y[i]);
  return sum;
}

}  // namespace

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

double norm(std::span<const double> a) { return std::sqrt(dot(a, a)); }

Bounded MlpDifferences::derivative(std::span<const double> direction, const Evaluate& f) const {
  const double length = norm(direction);
  double rounding = 0;
  const auto at = [&](double step) {
    const MlpProblem moved(host(), DType::f64, shape_,
                           combined(1, parameters_, step / length, direction));
    MlpObjective objective = moved.objective();
    std::vector<double> value = f(objective);
    rounding = kRoundings * epsilon(DType::f64) * norm(value);
    return value;
  };
  const auto difference = [&](double step) {
    const double scale = length / (2 * step);
    return combined(scale, at(step), -scale, at(-step));
  };
  // The error falls with the fourth power of the step: less than the change from one to the next.
  constexpr double kStep = 0x1p-7;
  const std::vector<double> whole = difference(2 * kStep), half = difference(kStep),
                            quarter = difference(kStep / 2);
  const std::vector<double> before = combined(4.0 / 3, half, -1.0 / 3, whole);
  std::vector<double> now = combined(4.0 / 3, quarter, -1.0 / 3, half);
  const double change = norm(combined(1, now, -1, before));
  return {.value = std::move(now), .error = change + rounding * length / kStep};
}

Bounded MlpDifferences::loss(std::span<const double> v) const {
  return derivative(v, [](MlpObjective& f) { return std::vector<double>{f.loss()}; });
}

Bounded MlpDifferences::gradient(std::span<const double> v) const {
  return derivative(v, [](MlpObjective& f) {
    const Tensor g({}, DType::f64, {1, f.size()});
    f.gradient(host(), g);
    return download(host(), g);
  });
}

Bounded MlpDifferences::product(std::span<const double> u, std::span<const double> v) const {
  const Tensor rows = upload(host(), DType::f64, {v.begin(), v.end()}, 1);
  return derivative(u, [&](MlpObjective& f) {
    const Tensor out({}, DType::f64, {1, f.size()});
    f.products(host(), rows, out);
    return download(host(), out);
  });
}

double error_over_bound(std::span<const double> got, const Bounded& want, DType dtype) {
  const double error = norm(combined(1, got, -1, want.value));
  const double bound = want.error + kRoundings * epsilon(dtype) * norm(want.value);
  return error == 0 ? 0 : error / bound;
}

double error_over_bound(double got, std::span<const double> v, const Bounded& want, DType dtype) {
  const double bound = norm(v) * (want.error + kRoundings * epsilon(dtype) * norm(want.value));
  const double error = std::abs(got - dot(v, want.value));
  return error == 0 ? 0 : error / bound;
}

}  // namespace hesscope::bench
