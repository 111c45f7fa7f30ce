#pragma once

#include <functional>
#include <vector>

#include "mlp_problem.h"

namespace hesscope::bench {

/// A vector, and how far in the 2-norm it may be from the exact one.
struct Bounded {
  std::vector<double> value;
  double error = 0;
};

/// Derivatives of a network along directions, from differences of what has one derivative less, in
/// float64 on the CPU: central differences, extrapolated once (Richardson 1911).
class MlpDifferences {
 public:
  explicit MlpDifferences(const MlpShape& shape)
      : shape_(shape), parameters_(random_parameters(shape)) {}

  const std::vector<double>& parameters() const { return parameters_; }

  Bounded loss(std::span<const double> v) const;                                // [1]: g v
  Bounded gradient(std::span<const double> v) const;                            // [n]: H v
  Bounded product(std::span<const double> u, std::span<const double> v) const;  // [n]: T[u, v, .]

 private:
  using Evaluate = std::function<std::vector<double>(MlpObjective&)>;
  Bounded derivative(std::span<const double> direction, const Evaluate& f) const;

  MlpShape shape_;
  std::vector<double> parameters_;
};

double norm(std::span<const double> a);
double dot(std::span<const double> a, std::span<const double> b);

/// |got - want| by what the difference may be off and what `dtype` may round: a product of matrices
/// in a backward pass is good to a few hundred eps of its norm.
double error_over_bound(std::span<const double> got, const Bounded& want, DType dtype);

/// v' w for a bounded w, likewise.
double error_over_bound(double got, std::span<const double> v, const Bounded& want, DType dtype);

}  // namespace hesscope::bench
