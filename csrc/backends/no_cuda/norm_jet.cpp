#include "backends/no_cuda/stub.h"
#include "kernels/norm_jet_kernels.h"

namespace hesscope::cuda {

template <typename T>
void norm_jet(const Context&, const NormJet<T>&) {
  HESSCOPE_STUB("norm_jet");
}

template <typename T>
void norm_jet_backward(const Context&, const NormJetBackward<T>&) {
  HESSCOPE_STUB("norm_jet_backward");
}

HESSCOPE_INSTANTIATE_NORM_JET(float)
HESSCOPE_INSTANTIATE_NORM_JET(double)

}  // namespace hesscope::cuda
