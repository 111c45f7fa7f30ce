#include "math/activation.h"

#include "kernels/activation_kernels.h"

namespace hesscope::reference {
namespace {

Derivatives evaluate(Activation f, double x) {
  switch (f) {
    case Activation::identity:
      return identity_derivatives(x);
    case Activation::relu:
      return relu_derivatives(x);
    case Activation::tanh:
      return tanh_derivatives(x);
    case Activation::sigmoid:
      return sigmoid_derivatives(x);
    case Activation::gelu:
      return gelu_derivatives(x);
    case Activation::gelu_tanh:
      return gelu_tanh_derivatives(x);
    case Activation::silu:
      return silu_derivatives(x);
    case Activation::softplus:
      return softplus_derivatives(x);
    case Activation::elu:
      return elu_derivatives(x);
    case Activation::exp:
      return exp_derivatives(x);
    case Activation::log:
      return log_derivatives(x);
    case Activation::erf:
      return erf_derivatives(x);
    case Activation::sin:
      return sin_derivatives(x);
    case Activation::cos:
      return cos_derivatives(x);
    case Activation::sqrt:
      return sqrt_derivatives(x);
    case Activation::rsqrt:
      return rsqrt_derivatives(x);
    case Activation::reciprocal:
      return reciprocal_derivatives(x);
    case Activation::square:
      return square_derivatives(x);
  }
  return {};
}

}  // namespace

template <typename T>
void activation_derivatives(const Context&, Activation f, MatrixView<const T> x, BatchView<T> out) {
  for (index_t b = 0; b < x.rows; ++b) {
    for (index_t c = 0; c < x.cols; ++c) {
      const Derivatives all = evaluate(f, x.row(b)[c]);
      for (index_t d = 0; d < out.batch; ++d) {
        out.matrix(d).row(b)[c] = static_cast<T>(all.d[d]);
      }
    }
  }
}

HESSCOPE_INSTANTIATE_ACTIVATION(float)
HESSCOPE_INSTANTIATE_ACTIVATION(double)

}  // namespace hesscope::reference
