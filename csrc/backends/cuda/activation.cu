#include "backends/cuda/device/reduce.cuh"
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

// One warp a row: p = exp(x - max) / sum. Three passes over a row, from L1 after the first.
template <typename T>
__global__ void __launch_bounds__(kWarpSize) softmax_kernel(MatrixView<const T> x,  // [B, C]
                                                            MatrixView<T> p,        // [B, C]
                                                            MatrixView<T> log_sum   // [B, 1]
) {
  const index_t b = blockIdx.x;
  const T* row = x.data + b * x.ld;
  double largest = row[0];
  for (index_t c = threadIdx.x; c < x.cols; c += kWarpSize) {
    largest = row[c] > largest ? static_cast<double>(row[c]) : largest;
  }
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    const double other = __shfl_xor_sync(kFullWarp, largest, distance);
    largest = other > largest ? other : largest;
  }
  double sum = 0;
  for (index_t c = threadIdx.x; c < x.cols; c += kWarpSize) sum += exp(row[c] - largest);
  sum = warp_sum(sum);
  for (index_t c = threadIdx.x; c < x.cols; c += kWarpSize) {
    p.data[b * p.ld + c] = static_cast<T>(exp(row[c] - largest) / sum);
  }
  if (threadIdx.x == 0) log_sum.data[b * log_sum.ld] = static_cast<T>(largest + log(sum));
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

template <typename T>
void softmax(const Context& ctx, MatrixView<const T> x, MatrixView<T> p, MatrixView<T> log_sum) {
  const ScopedDevice device(ctx.device);
  launch(softmax_kernel<T>, make_grid(x.rows), kWarpSize, 0, stream_of(ctx), x, p, log_sum);
}

HESSCOPE_INSTANTIATE_ACTIVATION(float)
HESSCOPE_INSTANTIATE_ACTIVATION(double)

}  // namespace hesscope::cuda
