#pragma once

#include <cmath>

#include "math/abi.h"
#include "math/elementary.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

/// f(x), f'(x), f''(x), f'''(x). Mostly the C++ library's functions: this runs once per batch and
/// layer, while products with vectors reuse the result.
struct Derivatives {
  double d[4];
};

HESSCOPE_HD Derivatives identity_derivatives(double x) { return {{x, 1, 0, 0}}; }

HESSCOPE_HD Derivatives relu_derivatives(double x) {
  return {{x < 0 ? 0 : x, x != x ? x : static_cast<double>(x > 0), 0, 0}};
}

HESSCOPE_HD Derivatives tanh_derivatives(double x) {
  const double t = tanh(x), s = 1 / cosh(x), d = s * s;
  return {{t, d, -2 * t * d, d * (4 * t * t - 2 * d)}};
}

HESSCOPE_HD double logistic(double x) {
  const double e = exp(-fabs(x));
  return (x < 0 ? e : 1) / (1 + e);
}

HESSCOPE_HD Derivatives sigmoid_derivatives(double x) {
  const double p = logistic(x), q = logistic(-x), d = p * q;
  return {{p, d, d * (q - p), d * (1 - 6 * d)}};
}

HESSCOPE_HD Derivatives softplus_derivatives(double x) {
  const Derivatives s = sigmoid_derivatives(x);
  return {{(x > 0 ? x : 0) + log1p(exp(-fabs(x))), s.d[0], s.d[1], s.d[2]}};
}

/// x g(x) from the derivatives of g.
HESSCOPE_HD Derivatives times_x(double x, const Derivatives& g) {
  return {{x * g.d[0], g.d[0] + x * g.d[1], 2 * g.d[1] + x * g.d[2], 3 * g.d[2] + x * g.d[3]}};
}

HESSCOPE_HD Derivatives silu_derivatives(double x) { return times_x(x, sigmoid_derivatives(x)); }

HESSCOPE_HD Derivatives gelu_derivatives(double x) {
  constexpr double kInverseSqrtTwo = 0.70710678118654752440,
                   kInverseSqrtTwoPi = 0.39894228040143267794;
  const double phi = kInverseSqrtTwoPi * exp(-x * x / 2);
  return times_x(x, {{erfc(-x * kInverseSqrtTwo) / 2, phi, -x * phi, (x * x - 1) * phi}});
}

/// x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3).
HESSCOPE_HD Derivatives gelu_tanh_derivatives(double x) {
  constexpr double kScale = 0.79788456080286535588, kCubic = 0.044715;
  const double u = kScale * (x + kCubic * x * x * x), u1 = kScale * (1 + 3 * kCubic * x * x),
               u2 = kScale * 6 * kCubic * x, u3 = kScale * 6 * kCubic;
  const Derivatives g = sigmoid_derivatives(2 * u);  // (1 + tanh(u)) / 2
  const double g1 = 2 * g.d[1], g2 = 4 * g.d[2], g3 = 8 * g.d[3];
  return times_x(x, {{g.d[0], g1 * u1, g2 * u1 * u1 + g1 * u2,
                      g3 * u1 * u1 * u1 + 3 * g2 * u1 * u2 + g1 * u3}});
}

HESSCOPE_HD Derivatives exp_derivatives(double x) {
  const double e = exp(x);
  return {{e, e, e, e}};
}

HESSCOPE_HD Derivatives elu_derivatives(double x) {
  const double e = exp(x);
  if (x > 0) return {{x, 1, 0, 0}};
  return {{expm1(x), e, e, e}};
}

HESSCOPE_HD Derivatives log_derivatives(double x) {
  const double r = 1 / x;
  return {{log(x), r, -r * r, 2 * r * r * r}};
}

HESSCOPE_HD Derivatives erf_derivatives(double x) {
  constexpr double kTwoOverSqrtPi = 1.12837916709551257390;
  const double d = kTwoOverSqrtPi * exp(-x * x);
  return {{erf(x), d, -2 * x * d, (4 * x * x - 2) * d}};
}

/// Of x (1 + 2 eps) at most: the library's reduction of huge arguments needs a stack on a device.
HESSCOPE_HD elementary::SinCos sincos_of(double x) {
  constexpr double kInversePi = 0.31830988618379067154;
  return elementary::sincospi(x * kInversePi);
}

HESSCOPE_HD Derivatives sin_derivatives(double x) {
  const elementary::SinCos at = sincos_of(x);
  return {{at.sin, at.cos, -at.sin, -at.cos}};
}

HESSCOPE_HD Derivatives cos_derivatives(double x) {
  const elementary::SinCos at = sincos_of(x);
  return {{at.cos, -at.sin, -at.cos, at.sin}};
}

HESSCOPE_HD Derivatives sqrt_derivatives(double x) {
  const double s = sqrt(x), d = 0.5 / s, r = 1 / x;
  return {{s, d, -0.5 * d * r, 0.75 * d * r * r}};
}

HESSCOPE_HD Derivatives rsqrt_derivatives(double x) {
  const double v = 1 / sqrt(x), r = 1 / x;
  return {{v, -0.5 * v * r, 0.75 * v * r * r, -1.875 * v * r * r * r}};
}

HESSCOPE_HD Derivatives reciprocal_derivatives(double x) {
  const double r = 1 / x, q = r * r;
  return {{r, -q, 2 * q * r, -6 * q * q}};
}

HESSCOPE_HD Derivatives square_derivatives(double x) { return {{x * x, 2 * x, 2, 0}}; }

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
