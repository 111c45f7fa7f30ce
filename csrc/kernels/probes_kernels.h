#pragma once

#include "hesscope/probes.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

HESSCOPE_DECLARE_IN_EVERY_BACKEND(
    template <typename T> void probes(const Context& ctx, const ProbeSpec& spec, MatrixView<T> out);

    template <typename T> void probe_dot(const Context& ctx, const ProbeSpec& spec,
                                         MatrixView<const T> w, VectorView<double> c);)

}  // namespace hesscope

/// Every storage type, for explicit instantiations: X(T).
#define HESSCOPE_FOR_EACH_PROBE_TYPE(X) \
  X(float)                              \
  X(double)

#define HESSCOPE_INSTANTIATE_PROBES(T)                                              \
  template void probes<T>(const Context&, const ProbeSpec&, MatrixView<T>);         \
  template void probe_dot<T>(const Context&, const ProbeSpec&, MatrixView<const T>, \
                             VectorView<double>);
