#include "backends/cuda/launch.h"
#include "kernels/activation_kernels.h"
#include "math/activation.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 128;

struct Identity {
  __device__ Derivatives operator()(double x) const { return identity_derivatives(x); }
};
struct Relu {
  __device__ Derivatives operator()(double x) const { return relu_derivatives(x); }
};
struct Tanh {
  __device__ Derivatives operator()(double x) const { return tanh_derivatives(x); }
};
struct Sigmoid {
  __device__ Derivatives operator()(double x) const { return sigmoid_derivatives(x); }
};
struct Gelu {
  __device__ Derivatives operator()(double x) const { return gelu_derivatives(x); }
};
struct GeluTanh {
  __device__ Derivatives operator()(double x) const { return gelu_tanh_derivatives(x); }
};
struct Silu {
  __device__ Derivatives operator()(double x) const { return silu_derivatives(x); }
};
struct Softplus {
  __device__ Derivatives operator()(double x) const { return softplus_derivatives(x); }
};

// out[d, b, c] = f^(d)(x[b, c]). A thread per element: bound by arithmetic in float64.
template <typename F, typename T>
__global__ void __launch_bounds__(kThreads)
    activation_derivatives_kernel(F f, MatrixView<const T> x, BatchView<T> out, unsigned per_row) {
  const index_t b = blockIdx.x / per_row;
  const index_t c = index_t{blockIdx.x % per_row} * kThreads + threadIdx.x;
  if (c >= x.cols) return;
  const Derivatives all = f(static_cast<double>(x.data[b * x.ld + c]));
#pragma unroll
  for (int d = 0; d < 4; ++d) {
    if (d < out.batch) out.data[d * out.batch_stride + b * out.ld + c] = static_cast<T>(all.d[d]);
  }
}

template <typename F, typename T>
void apply(const Context& ctx, MatrixView<const T> x, BatchView<T> out) {
  const index_t per_row = ceil_div(x.cols, kThreads);
  launch(activation_derivatives_kernel<F, T>, make_grid(x.rows * per_row), kThreads, 0,
         stream_of(ctx), F{}, x, out, static_cast<unsigned>(per_row));
}

}  // namespace

template <typename T>
void activation_derivatives(const Context& ctx, Activation f, MatrixView<const T> x,
                            BatchView<T> out) {
  const ScopedDevice device(ctx.device);
  switch (f) {
    case Activation::identity:
      return apply<Identity>(ctx, x, out);
    case Activation::relu:
      return apply<Relu>(ctx, x, out);
    case Activation::tanh:
      return apply<Tanh>(ctx, x, out);
    case Activation::sigmoid:
      return apply<Sigmoid>(ctx, x, out);
    case Activation::gelu:
      return apply<Gelu>(ctx, x, out);
    case Activation::gelu_tanh:
      return apply<GeluTanh>(ctx, x, out);
    case Activation::silu:
      return apply<Silu>(ctx, x, out);
    case Activation::softplus:
      return apply<Softplus>(ctx, x, out);
  }
}

HESSCOPE_INSTANTIATE_ACTIVATION(float)
HESSCOPE_INSTANTIATE_ACTIVATION(double)

}  // namespace hesscope::cuda
