#include "backends/cpu/dispatch.h"
#include "kernels/elementary_kernels.h"

namespace hesscope::cpu {

void elementary_map(const Context& ctx, ElementaryFunction function, VectorView<const double> x,
                    VectorView<double> out) {
  HESSCOPE_CPU_DISPATCH(elementary_map(ctx, function, x, out));
}

}  // namespace hesscope::cpu
