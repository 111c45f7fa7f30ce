#include "backends/no_cuda/stub.h"
#include "kernels/pointwise_jet_kernels.h"

namespace hesscope::cuda {

template <typename T>
void pointwise_jet(const Context&, const PointwiseJet<T>&) {
  HESSCOPE_STUB("pointwise_jet");
}

HESSCOPE_INSTANTIATE_POINTWISE_JET(float)
HESSCOPE_INSTANTIATE_POINTWISE_JET(double)

}  // namespace hesscope::cuda
