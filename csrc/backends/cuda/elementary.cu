#include "backends/cuda/launch.h"
#include "kernels/elementary_kernels.h"
#include "math/elementary_function.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 256;

// out[i] = f(x[i]). For measuring accuracy: one element a thread, any strides.
template <typename F>
__global__ void __launch_bounds__(kThreads)
    elementary_map_kernel(VectorView<const double> x,  // [n]
                          VectorView<double> out,      // [n]
                          F f) {
  const index_t i = index_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < x.size) out.data[i * out.stride] = f(x.data[i * x.stride]);
}

template <typename F>
void map(const Context& ctx, VectorView<const double> x, VectorView<double> out, F f) {
  const ScopedDevice device(ctx.device);
  launch(elementary_map_kernel<F>, make_grid(ceil_div(x.size, kThreads)), kThreads, 0,
         stream_of(ctx), x, out, f);
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

}  // namespace hesscope::cuda
