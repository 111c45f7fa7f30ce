#pragma once

#include <cmath>
#include <limits>

#include "hesscope/lanczos.h"
#include "math/abi.h"
#include "math/widen.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

/// What one step needs of a row's state.
struct LanczosRow {
  double scale;     // q_j = scale * v
  double coupling;  // beta_prev * q_{j-1} = coupling * v_prev
  bool frozen;      // ended: nothing is read
  bool first;       // v_prev is not read: it may be anything
};

HESSCOPE_HD LanczosRow lanczos_row(const double* state  // [kLanczosStateSize]
) {
  const double scale = state[kLanczosScale], scale_prev = state[kLanczosScalePrev];
  const double beta_prev = state[kLanczosBetaPrev];
  const bool first = scale_prev == 0 || beta_prev == 0;
  return {scale, first ? 0.0 : beta_prev * scale_prev, scale == 0, first};
}

/// An element of r = H q_j - beta_{j-1} q_{j-1}.
template <typename T>
HESSCOPE_HD double lanczos_residual(const LanczosRow& row, T w, T v_prev) {
  return row.scale * widen(w) - row.coupling * widen(v_prev);
}

/// Moves the state on and returns beta: 0 if the recurrence has broken down. An infinite norm is
/// not a breakdown, and neither is a NaN, which no comparison holds for: both go to the caller.
HESSCOPE_HD double lanczos_advance(double* state,  // [kLanczosStateSize]
                                   double alpha, double beta_squared, double breakdown_tolerance) {
  const double beta = sqrt(beta_squared), size = fabs(alpha) + beta;
  const double largest = size <= state[kLanczosLargest] ? state[kLanczosLargest] : size;
  constexpr double kFinite = std::numeric_limits<double>::max();
  const bool ends = largest <= kFinite && beta <= breakdown_tolerance * largest;
  state[kLanczosScalePrev] = state[kLanczosScale];
  state[kLanczosBetaPrev] = ends ? 0.0 : beta;
  state[kLanczosScale] = ends ? 0.0 : 1.0 / beta;
  state[kLanczosLargest] = largest;
  return state[kLanczosBetaPrev];
}

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
