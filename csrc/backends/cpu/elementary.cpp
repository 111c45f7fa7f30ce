#include <algorithm>

#include "backends/cpu/parallel.h"
#include "kernels/elementary_kernels.h"
#include "math/elementary_function.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

template <typename F>
void map(const Context& ctx, VectorView<const double> x, VectorView<double> out, F f) {
  cpu::parallel_for(ctx.num_threads, ceil_div(x.size, kSlab), [&](index_t task) {
    const index_t end = std::min((task + 1) * kSlab, x.size);
    for (index_t i = task * kSlab; i < end; ++i) out[i] = f(x[i]);
  });
}

}  // namespace

void elementary_map(const Context& ctx, ElementaryFunction function, VectorView<const double> x,
                    VectorView<double> out) {
  switch (function) {
    case ElementaryFunction::exp:
      return map(ctx, x, out, Exp{});
    case ElementaryFunction::log:
      return map(ctx, x, out, Log{});
    case ElementaryFunction::sinpi:
      return map(ctx, x, out, SinPi{});
    case ElementaryFunction::cospi:
      return map(ctx, x, out, CosPi{});
    case ElementaryFunction::normal_cdf:
      return map(ctx, x, out, NormalCdf{});
  }
}

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
