#include "backends/no_cuda/stub.h"
#include "kernels/softmax_jet_kernels.h"

namespace hesscope::cuda {

template <typename T>
void softmax(const Context&, MatrixView<const T>, MatrixView<T>, MatrixView<T>) {
  HESSCOPE_STUB("softmax");
}

template <typename T>
void softmax_jet(const Context&, const SoftmaxJet<T>&) {
  HESSCOPE_STUB("softmax_jet");
}

template <typename T>
void softmax_jet_backward(const Context&, const SoftmaxJetBackward<T>&) {
  HESSCOPE_STUB("softmax_jet_backward");
}

HESSCOPE_INSTANTIATE_SOFTMAX_JET(float)
HESSCOPE_INSTANTIATE_SOFTMAX_JET(double)

}  // namespace hesscope::cuda
