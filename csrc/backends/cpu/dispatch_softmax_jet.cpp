#include "backends/cpu/dispatch.h"
#include "kernels/softmax_jet_kernels.h"

namespace hesscope::cpu {

template <typename T>
void softmax(const Context& ctx, MatrixView<const T> x, MatrixView<T> p, MatrixView<T> log_sum) {
  HESSCOPE_CPU_DISPATCH(softmax<T>(ctx, x, p, log_sum))
}

template <typename T>
void softmax_jet(const Context& ctx, const SoftmaxJet<T>& jet) {
  HESSCOPE_CPU_DISPATCH(softmax_jet<T>(ctx, jet));
}

template <typename T>
void softmax_jet_backward(const Context& ctx, const SoftmaxJetBackward<T>& jet) {
  HESSCOPE_CPU_DISPATCH(softmax_jet_backward<T>(ctx, jet));
}

HESSCOPE_INSTANTIATE_SOFTMAX_JET(float)
HESSCOPE_INSTANTIATE_SOFTMAX_JET(double)

}  // namespace hesscope::cpu
