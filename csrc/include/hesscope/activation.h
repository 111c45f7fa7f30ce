#pragma once

#include <cstdint>
#include <string_view>

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// Elementwise functions with three derivatives; any of them may be the activation of a layer.
enum class Activation : std::uint8_t {
  identity,
  relu,  // derivative 0 at 0; the second and third vanish
  tanh,
  sigmoid,
  gelu,       // x Phi(x)
  gelu_tanh,  // its approximation by tanh
  silu,       // x sigmoid(x)
  softplus,   // log(1 + exp(x))
  elu,        // exp(x) - 1 below 0
  exp,
  log,
  erf,
  sin,
  cos,
  sqrt,
  rsqrt,
  reciprocal,
  square
};

std::string_view name_of(Activation activation);

/// The activation of this name; ValueError, with the names there are, otherwise.
Activation activation_of(std::string_view name);

/// An activation and its derivatives:   out[d, b, c] = f^(d)(x[b, c]),  d < D.
///
///   x  [B, C]     float32 or float64, rows contiguous, any row stride
///   out [D, B, C] the dtype of x, rows contiguous, 1 <= D <= 4 (output; out[0] may be x)
///
/// float64 arithmetic with the functions of the C++ library, rounded once. NaN gives NaN.
/// Throws ShapeError, DTypeError, DeviceError; NotCompiled without that backend.
void activation_derivatives(const Context& ctx, Activation f, const TensorView& x,
                            const TensorView& out);

}  // namespace hesscope
