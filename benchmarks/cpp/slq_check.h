#pragma once

#include <vector>

#include "bench.h"
#include "hesscope/operator.h"
#include "hesscope/quadrature.h"

namespace hesscope::bench {

/// What a run of stochastic Lanczos quadrature is compared with. All errors are over their bounds,
/// which follow from the rounding of a product, so that more than 1 is wrong.
class SlqCheck {
 public:
  /// `oracle` is the same matrix in float64 on the reference backend.
  SlqCheck(const Suite& suite, const Operator& h, const Operator& oracle,
           const LanczosOptions& options)
      : suite_(suite), h_(h), oracle_(oracle), options_(options) {}

  /// Products with random vectors, in the 2-norm.
  double product_error() const;

  /// Moments 1 to 4 of every probe, z H^j z / z z, from products of the oracle.
  double moment_error(const LanczosRun& run, const Quadrature& q) const;

  /// Against the exact measures of the probes: their distribution functions must pass between the
  /// steps of the quadrature's (Chebyshev, Markov, Stieltjes), and their Wasserstein-1 distance
  /// must be below its bound. `eigenvalues` ascend.
  double measure_error(const PrescribedSpectrumOperator& h, const std::vector<double>& eigenvalues,
                       const Quadrature& q) const;

  /// Every eigenvalue must have a node beside it: for runs to the end with reorthogonalisation.
  double spectrum_error(const std::vector<double>& eigenvalues, const Quadrature& q) const;

  /// Relative size, in units of the norm, of what rounding may do to nodes and weights in m steps.
  double rounding(index_t steps) const;

 private:
  double sandwich_excess(const std::vector<double>& eigenvalues, const std::vector<double>& measure,
                         std::span<const double> nodes, std::span<const double> weights) const;

  const Suite& suite_;
  const Operator& h_;
  const Operator& oracle_;
  const LanczosOptions& options_;
};

}  // namespace hesscope::bench
