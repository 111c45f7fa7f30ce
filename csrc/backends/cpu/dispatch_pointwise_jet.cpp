#include "backends/cpu/dispatch.h"
#include "kernels/pointwise_jet_kernels.h"

namespace hesscope::cpu {

template <typename T>
void pointwise_jet(const Context& ctx, const PointwiseJet<T>& jet) {
  HESSCOPE_CPU_DISPATCH(pointwise_jet<T>(ctx, jet));
}

HESSCOPE_INSTANTIATE_POINTWISE_JET(float)
HESSCOPE_INSTANTIATE_POINTWISE_JET(double)

}  // namespace hesscope::cpu
