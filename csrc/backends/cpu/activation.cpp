#include "math/activation.h"

#include "backends/cpu/parallel.h"
#include "kernels/activation_kernels.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

constexpr index_t kRowsPerTask = 16;
constexpr index_t kSerialElements = 1024;  // of about 50 ns each

template <typename F>
void for_rows(const Context& ctx, index_t rows, index_t cols, const F& f) {
  const int threads = rows * cols < kSerialElements ? 1 : ctx.num_threads;
  cpu::parallel_for(threads, ceil_div(rows, kRowsPerTask), [&](index_t task) {
    const index_t end = (task + 1) * kRowsPerTask < rows ? (task + 1) * kRowsPerTask : rows;
    for (index_t b = task * kRowsPerTask; b < end; ++b) f(b);
  });
}

template <typename T, typename F>
void apply(const Context& ctx, MatrixView<const T> x, BatchView<T> out, const F& f) {
  for_rows(ctx, x.rows, x.cols, [&](index_t b) {
    for (index_t c = 0; c < x.cols; ++c) {
      const Derivatives all = f(x.row(b)[c]);
      for (index_t d = 0; d < out.batch; ++d) {
        out.matrix(d).row(b)[c] = static_cast<T>(all.d[d]);
      }
    }
  });
}

}  // namespace

template <typename T>
void activation_derivatives(const Context& ctx, Activation f, MatrixView<const T> x,
                            BatchView<T> out) {
  switch (f) {
    case Activation::identity:
      return apply(ctx, x, out, [](double at) { return identity_derivatives(at); });
    case Activation::relu:
      return apply(ctx, x, out, [](double at) { return relu_derivatives(at); });
    case Activation::tanh:
      return apply(ctx, x, out, [](double at) { return tanh_derivatives(at); });
    case Activation::sigmoid:
      return apply(ctx, x, out, [](double at) { return sigmoid_derivatives(at); });
    case Activation::gelu:
      return apply(ctx, x, out, [](double at) { return gelu_derivatives(at); });
    case Activation::gelu_tanh:
      return apply(ctx, x, out, [](double at) { return gelu_tanh_derivatives(at); });
    case Activation::silu:
      return apply(ctx, x, out, [](double at) { return silu_derivatives(at); });
    case Activation::softplus:
      return apply(ctx, x, out, [](double at) { return softplus_derivatives(at); });
    case Activation::elu:
      return apply(ctx, x, out, [](double at) { return elu_derivatives(at); });
    case Activation::exp:
      return apply(ctx, x, out, [](double at) { return exp_derivatives(at); });
    case Activation::log:
      return apply(ctx, x, out, [](double at) { return log_derivatives(at); });
    case Activation::erf:
      return apply(ctx, x, out, [](double at) { return erf_derivatives(at); });
    case Activation::sin:
      return apply(ctx, x, out, [](double at) { return sin_derivatives(at); });
    case Activation::cos:
      return apply(ctx, x, out, [](double at) { return cos_derivatives(at); });
    case Activation::sqrt:
      return apply(ctx, x, out, [](double at) { return sqrt_derivatives(at); });
    case Activation::rsqrt:
      return apply(ctx, x, out, [](double at) { return rsqrt_derivatives(at); });
    case Activation::reciprocal:
      return apply(ctx, x, out, [](double at) { return reciprocal_derivatives(at); });
    case Activation::square:
      return apply(ctx, x, out, [](double at) { return square_derivatives(at); });
  }
}

HESSCOPE_INSTANTIATE_ACTIVATION(float)
HESSCOPE_INSTANTIATE_ACTIVATION(double)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
