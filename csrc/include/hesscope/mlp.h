#pragma once

#include <cstdint>
#include <vector>

#include "hesscope/activation.h"
#include "hesscope/buffer.h"
#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

/// One dense layer:   a = f(x weight' + bias).
struct MlpLayer {
  TensorView weight;  // [out, in], rows contiguous
  TensorView bias;    // [out], contiguous; ndim == 0: none
  Activation activation = Activation::identity;
};

enum class MlpLoss : std::uint8_t {
  cross_entropy,  // scale * sum_m (sum_c t[m, c]) log sum_c exp(o[m, c]) - sum_c t[m, c] o[m, c]
  squared_error   // scale * sum_mc (o[m, c] - t[m, c])^2
};

/// What a network is trained on. A class index is a target row with one entry: its weight.
struct MlpData {
  TensorView input;   // [M, in], rows contiguous
  TensorView target;  // [M, out], rows contiguous
  MlpLoss loss = MlpLoss::cross_entropy;
  double scale = 1;
};

/// A multilayer perceptron and its loss: gradient, products with the Hessian H and contractions of
/// the third derivative T, for K directions at once. Taylor arithmetic by hand: coefficients along
/// the directions are pushed through the network and through its backward pass, made of gemm,
/// product_sum, activation_derivatives and softmax. A relu network is differentiated along its
/// selection.
///
/// Directions are rows [K, n]: weight and bias of each layer in turn, weights row by row; rows
/// contiguous, any row stride. All tensors are float32 or all float64, on the context's device, and
/// are borrowed: they must outlive the object. The forward and backward pass of the network itself
/// are computed by the constructor; a change of the tensors needs a new object.
///
/// Memory of its own: 9 numbers an activation, and for a call 4 (products) to 14 (contract) times K
/// of that. Every method throws ShapeError, DTypeError or DeviceError; rows of different directions
/// do not mix, and no result depends on K or the number of threads.
class MlpObjective {
 public:
  MlpObjective(const Context& ctx, std::vector<MlpLayer> layers, const MlpData& data);

  index_t size() const { return size_; }  // n
  double loss() const { return loss_; }

  void gradient(const Context& ctx, const TensorView& out);  // [1, n]

  /// out [K, n] = H v. Costs 2 gradients a direction.
  void products(const Context& ctx, const TensorView& v, const TensorView& out);

  /// out [K, 1] float64 = v' H v, by forward passes alone.
  void quadratic(const Context& ctx, const TensorView& v, const TensorView& out);

  /// out [K, n] = T[u, v, .]. With u and v the same tensor, one direction is computed once.
  void contract(const Context& ctx, const TensorView& u, const TensorView& v,
                const TensorView& out);

  /// out [K, 1] float64 = T[v, v, v], by forward passes alone.
  void cubic(const Context& ctx, const TensorView& v, const TensorView& out);

 private:
  friend class MlpPass;

  struct Primal {            // of one layer
    TensorView derivatives;  // [4, M, out]: of the activation; the first are the activations
    TensorView below;        // [1, M, in]: what the layer is given
    TensorView error;        // [1, M, out]: of the loss by the activations
    TensorView delta;        // [1, M, out]: of the loss by what the activation is given
    index_t offset = 0;      // of its weight in a direction; its bias follows
  };

  std::vector<MlpLayer> layers_;
  MlpData data_;
  std::vector<Primal> primal_;
  TensorView ones_, probability_;  // [1, 1, length], [1, M, out]
  TensorView mass_;                // [1, M, 1]: sums of targets, times the scale of the loss
  index_t size_ = 0;
  double loss_ = 0;
  std::vector<Buffer> kept_;     // memory of the above
  std::vector<Buffer> scratch_;  // of the call that runs, in the order it asks for it
  Buffer gemm_workspace_;
};

}  // namespace hesscope
