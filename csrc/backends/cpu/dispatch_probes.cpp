#include "backends/cpu/dispatch.h"
#include "kernels/probes_kernels.h"

namespace hesscope::cpu {

template <typename T>
void probes(const Context& ctx, const ProbeSpec& spec, MatrixView<T> out) {
  HESSCOPE_CPU_DISPATCH(probes<T>(ctx, spec, out));
}

template <typename T>
void probe_dot(const Context& ctx, const ProbeSpec& spec, MatrixView<const T> w,
               VectorView<double> c) {
  HESSCOPE_CPU_DISPATCH(probe_dot<T>(ctx, spec, w, c));
}

HESSCOPE_FOR_EACH_PROBE_TYPE(HESSCOPE_INSTANTIATE_PROBES)

}  // namespace hesscope::cpu
