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
struct Elu {
  __device__ Derivatives operator()(double x) const { return elu_derivatives(x); }
};
struct Exp {
  __device__ Derivatives operator()(double x) const { return exp_derivatives(x); }
};
struct Log {
  __device__ Derivatives operator()(double x) const { return log_derivatives(x); }
};
struct Erf {
  __device__ Derivatives operator()(double x) const { return erf_derivatives(x); }
};
struct Sin {
  __device__ Derivatives operator()(double x) const { return sin_derivatives(x); }
};
struct Cos {
  __device__ Derivatives operator()(double x) const { return cos_derivatives(x); }
};
struct Sqrt {
  __device__ Derivatives operator()(double x) const { return sqrt_derivatives(x); }
};
struct Rsqrt {
  __device__ Derivatives operator()(double x) const { return rsqrt_derivatives(x); }
};
struct Reciprocal {
  __device__ Derivatives operator()(double x) const { return reciprocal_derivatives(x); }
};
struct Square {
  __device__ Derivatives operator()(double x) const { return square_derivatives(x); }
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
    case Activation::elu:
      return apply<Elu>(ctx, x, out);
    case Activation::exp:
      return apply<Exp>(ctx, x, out);
    case Activation::log:
      return apply<Log>(ctx, x, out);
    case Activation::erf:
      return apply<Erf>(ctx, x, out);
    case Activation::sin:
      return apply<Sin>(ctx, x, out);
    case Activation::cos:
      return apply<Cos>(ctx, x, out);
    case Activation::sqrt:
      return apply<Sqrt>(ctx, x, out);
    case Activation::rsqrt:
      return apply<Rsqrt>(ctx, x, out);
    case Activation::reciprocal:
      return apply<Reciprocal>(ctx, x, out);
    case Activation::square:
      return apply<Square>(ctx, x, out);
  }
}

HESSCOPE_INSTANTIATE_ACTIVATION(float)
HESSCOPE_INSTANTIATE_ACTIVATION(double)

}  // namespace hesscope::cuda
