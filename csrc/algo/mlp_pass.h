#pragma once

#include <initializer_list>
#include <vector>

#include "hesscope/mlp.h"
#include "hesscope/product_sum.h"

namespace hesscope {

/// Taylor coefficients of K directions, of one order: one tensor [K, M, width] a layer. A view
/// without memory stands for zero.
struct MlpStream {
  std::vector<TensorView> given, active, error, delta;
};

/// One call of an MlpObjective: its scratch memory, and the rules for coefficients.
class MlpPass {
 public:
  MlpPass(MlpObjective& mlp, const Context& ctx, index_t k);

  /// Coefficients of what activations are given, and of activations.
  MlpStream forward(const TensorView& v);
  MlpStream forward(const TensorView& u, const MlpStream& by_u, const TensorView& v,
                    const MlpStream& by_v);
  MlpStream forward3(const TensorView& v, const MlpStream& first, const MlpStream& second);

  /// Coefficients of the errors of a stream; the gradient's go to `out` unless it has no memory.
  void backward(const TensorView& v, MlpStream& first, const TensorView& out);
  void backward(const TensorView& u, const MlpStream& by_u, const TensorView& v,
                const MlpStream& by_v, MlpStream& second, const TensorView& out);

  /// The primal: everything that does not depend on a direction.
  void compute_primal();
  void gradient(const TensorView& out);

  /// Coefficients of the derivative of the loss by the output.
  TensorView loss_first(const TensorView& output);
  TensorView loss_second(const TensorView& u, const TensorView& v, const TensorView& second);

  /// out[k] = sum of the entries of t[k].
  void sum_all(const TensorView& t, const TensorView& out);

  TensorView take(index_t k, index_t rows, index_t cols, std::vector<Buffer>* keep = nullptr);
  void combine(std::initializer_list<TensorView> operands, std::initializer_list<ProductTerm> terms,
               const TensorView& out);

 private:
  const MlpObjective::Primal& primal(std::size_t l) const { return mlp_.primal_[l]; }
  std::size_t depth() const { return mlp_.layers_.size(); }
  bool linear(std::size_t l) const { return mlp_.layers_[l].activation == Activation::identity; }

  TensorView weight(std::size_t l) const;                          // [1, out, in]
  TensorView weight_of(const TensorView& v, std::size_t l) const;  // [K, out, in]
  TensorView bias_of(const TensorView& v, std::size_t l) const;    // [K, 1, out]
  TensorView derivative(std::size_t l, index_t order) const;       // [1, M, out]

  void multiply(const TensorView& a, const TensorView& x, const TensorView& c, bool add,
                double scale = 1);
  TensorView row_means(const TensorView& t);  // [K, M, 1]: sum_c p[m, c] t[k, m, c]
  void write_gradient(std::size_t l, const TensorView& delta, const TensorView& out);
  double dot(const TensorView& a, const TensorView& b);
  void compute_loss(const TensorView& output);

  MlpObjective& mlp_;
  Context ctx_;
  index_t k_;
  std::size_t next_ = 0;
};

/// The transpose of every matrix of a batch, as a view.
TensorView transposed(TensorView t);

/// [K, M, N] of compact memory as one matrix [1, K M, N].
TensorView folded(TensorView t);

}  // namespace hesscope
