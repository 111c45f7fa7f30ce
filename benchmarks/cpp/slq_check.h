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
  SlqCheck(const Suite& suite, const BoundedOperator& h, const LanczosOptions& options)
      : suite_(suite), h_(h), options_(options) {}

  /// Products with random vectors, in the 2-norm, and moments 1 to 4 of every probe, z H^j z / z z,
  /// against `oracle`: the same matrix in float64 on the reference backend.
  double product_error(const BoundedOperator& oracle) const;
  double moment_error(const BoundedOperator& oracle, const LanczosRun& run,
                      const Quadrature& q) const;

  /// For sizes at which the reference takes too long: components in the eigenvectors, at sampled
  /// entries, against their definition; and those of H x against eigenvalues times those of x.
  double eigenbasis_error(const PrescribedSpectrumOperator& h,
                          const std::vector<double>& eigenvalues) const;

  /// Against the exact measures of the probes: their distribution functions must pass between the
  /// steps of the quadrature's (Chebyshev, Markov, Stieltjes), their Wasserstein-1 distance must be
  /// below its bound, and their moments the same. `eigenvalues` ascend.
  double measure_error(const PrescribedSpectrumOperator& h, const std::vector<double>& eigenvalues,
                       const Quadrature& q) const;

  /// Every eigenvalue must have a node beside it: for runs to the end with reorthogonalisation.
  double spectrum_error(const std::vector<double>& eigenvalues, const Quadrature& q) const;

  /// Relative size, in units of the norm, of what rounding may do to nodes and weights in m steps.
  double rounding(index_t steps) const;

 private:
  /// Of the probe's moments 1 to 4 against exact ones, each known to `exact_rounding` a product.
  double moment_ratio(const Quadrature& q, index_t k, std::span<const double> exact,
                      double exact_rounding) const;
  double sandwich_excess(const std::vector<double>& eigenvalues, const std::vector<double>& measure,
                         std::span<const double> nodes, std::span<const double> weights) const;

  const Suite& suite_;
  const BoundedOperator& h_;
  const LanczosOptions& options_;
};

}  // namespace hesscope::bench
