#pragma once

#include <cfloat>
#include <cmath>

#include "math/abi.h"
#include "math/widen.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

/// A row of the state: the columns of hesscope::LanczosState in their order.
struct LanczosRecord {
  double scale, scale_prev, beta_prev, largest;
};

HESSCOPE_HD LanczosRecord lanczos_read(const double* state  // [4]
) {
  return {state[0], state[1], state[2], state[3]};
}

HESSCOPE_HD void lanczos_write(const LanczosRecord& record,
                               double* state  // [4]
) {
  state[0] = record.scale;
  state[1] = record.scale_prev;
  state[2] = record.beta_prev;
  state[3] = record.largest;
}

/// What one step needs of it.
struct LanczosRow {
  double scale;     // q_j = scale * v
  double coupling;  // beta_prev * q_{j-1} = coupling * v_prev
  bool frozen;      // ended: nothing is read
  bool first;       // v_prev is not read: it may be anything
};

HESSCOPE_HD LanczosRow lanczos_row(const LanczosRecord& state) {
  const bool first = state.scale_prev == 0 || state.beta_prev == 0;
  return {state.scale, first ? 0.0 : state.beta_prev * state.scale_prev, state.scale == 0, first};
}

/// An element of r = H q_j - beta_{j-1} q_{j-1}.
template <typename T>
HESSCOPE_HD double lanczos_residual(const LanczosRow& row, T w, T v_prev) {
  return row.scale * widen(w) - row.coupling * widen(v_prev);
}

/// Moves the state on and returns beta: 0 if the recurrence has broken down. An infinite norm is
/// not a breakdown, and neither is a NaN, which no comparison holds for: both go to the caller.
HESSCOPE_HD double lanczos_advance(LanczosRecord& state, double alpha, double beta_squared,
                                   double breakdown_tolerance) {
  const double beta = sqrt(beta_squared), size = fabs(alpha) + beta;
  const double largest = size <= state.largest ? state.largest : size;
  const bool ends = largest <= DBL_MAX && beta <= breakdown_tolerance * largest;
  state = {.scale = ends ? 0.0 : 1.0 / beta,
           .scale_prev = state.scale,
           .beta_prev = ends ? 0.0 : beta,
           .largest = largest};
  return state.beta_prev;
}

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
