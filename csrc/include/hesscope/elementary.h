#pragma once

#include <cstdint>

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

enum class ElementaryFunction : std::uint8_t { exp, log, sinpi, cospi, normal_cdf };

/// out[i] = function(x[i]): the library's own float64 functions, on which its kernels are built,
/// exposed so that their accuracy can be measured on every backend. sinpi and cospi take
/// |x| <= 2^50.
///
///   x  [n] float64        out  [n] float64 (output; may be x)        any strides
///
/// Within 2 ulp, the same bits for every instruction set of the CPU backend; a device contracts
/// and may differ. `reference` is the C library in long double.
/// Throws ShapeError, DTypeError, DeviceError; NotCompiled without that backend.
void elementary_map(const Context& ctx, ElementaryFunction function, const TensorView& x,
                    const TensorView& out);

}  // namespace hesscope
