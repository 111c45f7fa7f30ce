#include "backends/no_cuda/stub.h"
#include "kernels/probes_kernels.h"

namespace hesscope::cuda {

template <typename T>
void probes(const Context&, const ProbeSpec&, MatrixView<T>) {
  HESSCOPE_STUB("probes");
}

template <typename T>
void probe_dot(const Context&, const ProbeSpec&, MatrixView<const T>, VectorView<double>) {
  HESSCOPE_STUB("probe_dot");
}

HESSCOPE_FOR_EACH_PROBE_TYPE(HESSCOPE_INSTANTIATE_PROBES)

}  // namespace hesscope::cuda
