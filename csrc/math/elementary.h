#pragma once

#include <cstdint>
#include <limits>

#include "math/abi.h"
#include "math/bits.h"

/// exp, log, sin, cos and the normal distribution in float64: branch-free, so that loops over them
/// vectorise, and made of additions, multiplications, divisions and bits only, so that every
/// instruction set gives the same result. Within 2 ulp everywhere (tests/test_elementary.py).
///
/// Polynomials are minimax, by Remez exchange in 50 digits; the stated error is relative to the
/// function and is that of the polynomial before its coefficients are rounded.
namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {
namespace elementary {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// ln 2 in two parts; the first has 32 bits, so that its product with an exponent is exact.
inline constexpr double kLn2High = 0x1.62e42feep-1;
inline constexpr double kLn2Low = 0x1.a39ef35793c76p-33;

/// x + kRound - kRound rounds |x| < 2^51 to an integer, whose two's complement is then in the lower
/// bits of x + kRound.
inline constexpr double kRound = 0x1.8p52;

/// c0 + c1 x + c2 x^2 + ...
HESSCOPE_HD double polynomial(double, double c0) { return c0; }
template <typename... C>
HESSCOPE_HD double polynomial(double x, double c0, C... higher) {
  return c0 + x * polynomial(x, higher...);
}

/// 2^k for an integer -1022 <= k <= 1023.
HESSCOPE_HD double power_of_two(double k) { return from_bits((to_bits(k + kRound) + 1023) << 52); }

/// factor * exp(high + low), for |low| much smaller than 1 and -746 <= high <= 710. `factor` is
/// multiplied before the last rounding, and 2^k in two halves: results may be subnormal.
HESSCOPE_HD double scaled_exp(double factor, double high, double low) {
  const double k = (high * 0x1.71547652b82fep+0 + kRound) - kRound;  // 1 / ln 2
  const double r = (high - k * kLn2High) + (low - k * kLn2Low);
  // (exp(r) - 1 - r - r^2/2) / r^3 on |r| <= ln(2)/2, error 5.4e-18
  const double p = polynomial(r, 0.16666666666666433, 0.04166666666660395, 0.008333333333500045,
                              0.0013888888926800855, 0.00019841269466210938, 2.4801508676012308e-05,
                              2.755764086089586e-06, 2.762518974219757e-07, 2.4978386089178574e-08);
  const double minus_one = r + r * r * (0.5 + r * p);
  const double half = (k * 0.5 + kRound) - kRound;
  return (factor + factor * minus_one) * power_of_two(half) * power_of_two(k - half);
}

HESSCOPE_HD double exp(double x) {
  x = x < -746.0 ? -746.0 : x;  // exp = 0 below, infinite above; NaN passes both
  x = x > 710.0 ? 710.0 : x;
  return scaled_exp(1.0, x, 0.0);
}

/// log x = k log 2 + log m with m in [sqrt(1/2), sqrt(2)), and log m = log((1 + s) / (1 - s)) with
/// s = (m - 1) / (m + 1), in the order of operations of fdlibm (Sun, 1993).
HESSCOPE_HD double log(double x) {
  constexpr std::uint64_t kOne = 0x3ff0000000000000u, kSqrtHalf = 0x3fe6a09e667f3bcdu;
  constexpr std::uint64_t kMantissa = 0x000fffffffffffffu;
  const bool subnormal = x < 0x1p-1022;
  const std::uint64_t shifted = to_bits(subnormal ? x * 0x1p54 : x) + (kOne - kSqrtHalf);
  const double f = from_bits((shifted & kMantissa) + kSqrtHalf) - 1.0;
  // The biased exponent becomes a double by way of the mantissa of 2^52.
  const double biased = from_bits(0x4330000000000000u | (shifted >> 52)) - 0x1p52;
  const double k = biased - (subnormal ? 1077.0 : 1023.0);

  const double s = f / (2.0 + f), z = s * s;
  // (log((1 + s) / (1 - s)) - 2s) / s^3 on [0, 0.0295], error 4.6e-18
  const double p = z * polynomial(z, 0.666666666666671, 0.39999999999519825, 0.2857142872928475,
                                  0.22222199090897415, 0.18183571540965918, 0.15313164380181224,
                                  0.1481051994073584);
  const double half_square = 0.5 * f * f;
  const double value = k * kLn2High - ((half_square - (s * (half_square + p) + k * kLn2Low)) - f);
  const double special = x == 0.0 ? -kInfinity : (x == kInfinity ? kInfinity : kNaN);
  return x > 0.0 && x < kInfinity ? value : special;
}

struct SinCos {
  double sin, cos;
};

/// sin(pi x) and cos(pi x) for |x| <= 2^50: the reduction to a quarter turn is exact.
HESSCOPE_HD SinCos sincospi(double x) {
  const double shifted = 2.0 * x + kRound;
  const std::uint64_t quarter = to_bits(shifted);
  const double r = x - 0.5 * (shifted - kRound), z = r * r;  // |r| <= 1/4
  // sin(pi r) / r, error 6.1e-18, and (cos(pi r) - 1) / r^2, error 6.1e-20
  const double sine =
      r * (3.141592653589793 + z * polynomial(z, -5.167712780049962, 2.5501640398743888,
                                              -0.5992645289850258, 0.08214587001054618,
                                              -0.007370026917090922, 0.00046153200062932153));
  const double cosine =
      1.0 + z * polynomial(z, -4.934802200544679, 4.058712126416754, -1.3352627688523626,
                           0.2353306302046349, -0.025806885848625845, 0.0019294667903613726,
                           -0.0001035674955424197);
  const bool odd = (quarter & 1) != 0;
  const std::uint64_t sin_sign = (quarter & 2) << 62, cos_sign = ((quarter + 1) & 2) << 62;
  return {from_bits(to_bits(odd ? cosine : sine) ^ sin_sign),
          from_bits(to_bits(odd ? sine : cosine) ^ cos_sign)};
}

/// The number with the upper 26 bits of x: products of two such numbers are exact.
HESSCOPE_HD double upper_half(double x) {
  return from_bits(to_bits(x) & ~std::uint64_t{0x7ffffff});
}

/// The distribution function of the standard normal distribution, to full relative accuracy in the
/// lower tail: Phi(-t) = exp(-t^2 / 2) F(u) / (7/8 + t) with u = (t - 4) / (t + 4), after Shepherd
/// and Laframboise (1981), Math. Comp. 36, 249-253. F lies within (0.39, 0.5). The rounding errors
/// of t^2, of F, of 7/8 + t and of the quotient are found and go into the exponent.
HESSCOPE_HD double normal_cdf(double x) {
  double t = x < 0.0 ? -x : x;
  t = t > 39.0 ? 39.0 : t;  // Phi(-39) is 0 in float64
  const double u = (t - 4.0) / (t + 4.0);
  // F on 0 <= t <= 39, error 6.8e-18
  constexpr double kConstant = 0.4602518763470986;
  const double rest =
      u * polynomial(u, -0.07540376213296886, -0.0015477721929824072, 0.037563789970766204,
                     -0.03605593794138248, 0.018997609414991814, -0.0050658238502571465,
                     -0.00036547483019100456, 0.0007182951361686471, -8.873588653344261e-05,
                     -9.143421149385243e-05, 2.0671080891583646e-05, 1.4164744525288431e-05,
                     -3.3284652103547008e-06, -2.6953953069734786e-06, 3.786654978955625e-07,
                     5.63408487395413e-07, 8.066443268360515e-09, -1.117703169438137e-07,
                     -2.1286898918235216e-08, 1.7376196240739975e-08, 6.373285818944843e-09,
                     -1.4484960602744477e-09, -7.678337283928591e-10);
  const double f = kConstant + rest, f_error = (kConstant - f) + rest;
  const double sum = 0.875 + t, part = sum - 0.875;
  const double sum_error = (0.875 - (sum - part)) + (t - part);
  const double quotient = f / sum, q = upper_half(quotient), s = upper_half(sum);
  const double remainder = ((f - q * s) - q * (sum - s)) - (quotient - q) * sum;
  // Relative to f, for which 1 / 2.25 is near enough.
  const double correction = 2.25 * (remainder + (f_error - quotient * sum_error));
  const double head = upper_half(t);
  const double tail =
      scaled_exp(quotient, -0.5 * head * head, correction - 0.5 * (t - head) * (t + head));
  return x > 0.0 ? 1.0 - tail : tail;
}

}  // namespace elementary
}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
