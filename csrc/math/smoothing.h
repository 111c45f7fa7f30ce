#pragma once

#include "math/elementary.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

// What one node adds at x, per unit of weight. A functor each, so that kernels take them as types.

/// The density of a normal distribution around the node, but for its factor 1 / (sigma sqrt(2 pi)).
struct DensityTerm {
  double inverse_sigma;

  HESSCOPE_HD double operator()(double x, double node) const {
    const double z = (x - node) * inverse_sigma;
    return elementary::exp(-0.5 * z * z);
  }
};

/// Its distribution function.
struct CdfTerm {
  double inverse_sigma;

  HESSCOPE_HD double operator()(double x, double node) const {
    return elementary::normal_cdf((x - node) * inverse_sigma);
  }
};

/// The limit sigma = 0, closed on the right.
struct StepTerm {
  HESSCOPE_HD double operator()(double x, double node) const {
    return x >= node ? 1.0 : (x < node ? 0.0 : elementary::kNaN);
  }
};

inline constexpr double kInverseSqrtTwoPi = 0.3989422804014327;

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
