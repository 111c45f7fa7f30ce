#include "backends/cpu/dispatch.h"
#include "kernels/norm_jet_kernels.h"

namespace hesscope::cpu {

template <typename T>
void norm_jet(const Context& ctx, const NormJet<T>& jet) {
  HESSCOPE_CPU_DISPATCH(norm_jet<T>(ctx, jet));
}

template <typename T>
void norm_jet_backward(const Context& ctx, const NormJetBackward<T>& jet) {
  HESSCOPE_CPU_DISPATCH(norm_jet_backward<T>(ctx, jet));
}

HESSCOPE_INSTANTIATE_NORM_JET(float)
HESSCOPE_INSTANTIATE_NORM_JET(double)

}  // namespace hesscope::cpu
