#include "algo/mlp_pass.h"
#include "hesscope/orthogonalize.h"
#include "hesscope/softmax_jet.h"
#include "hesscope/tensor.h"

// With p the softmax of the output o, s the sums of scaled targets t and <x> = sum_c p_c x_c:
//   L_o = s p - t,   L_oo[x] = s p (x - <x>),   L_ooo[x, y] = s p ((x - <x>)(y - <y>) - cov(x, y)).

namespace hesscope {
namespace {

ProductTerm single(int a, double scale = 1) { return {scale, {a, -1, -1, -1}}; }

/// [1, M, 1] as [M].
TensorView flat(TensorView t) {
  t.ndim = 1;
  t.shape[0] = t.shape[1], t.stride[0] = 1;
  return t;
}

}  // namespace

TensorView MlpPass::row_means(const TensorView& t) {
  const index_t rows = t.shape[1], cols = t.shape[2];
  const TensorView weighted = take(k_, rows, cols), means = take(k_, rows, 1);
  combine({mlp_.probability_, t}, {ProductTerm{1, {0, 1, -1, -1}}}, weighted);
  const TensorView ones = transposed(narrow(mlp_.ones_, 2, 0, cols));
  multiply(folded(weighted), ones, folded(means), false);
  return means;
}

TensorView MlpPass::loss_first(const TensorView& output) {
  const TensorView e = take(k_, output.shape[1], output.shape[2]);
  if (mlp_.data_.loss == MlpLoss::squared_error) {
    combine({output}, {single(0, 2 * mlp_.data_.scale)}, e);
  } else {
    softmax_jet(ctx_, std::span(&output, 1), select(mlp_.probability_, 0, 0), flat(mlp_.mass_),
                false, std::span(&e, 1));
  }
  return e;
}

TensorView MlpPass::loss_second(const TensorView& u, const TensorView& v,
                                const TensorView& second) {
  const index_t rows = u.shape[1], cols = u.shape[2];
  const bool curved = mlp_.data_.loss == MlpLoss::cross_entropy;
  TensorView e;
  if (second.data != nullptr) {
    e = loss_first(second);
  } else {
    e = take(k_, rows, cols);
    combine({u}, {single(0, 0)}, e);
  }
  if (!curved) return e;
  const TensorView product = take(k_, rows, cols);
  combine({u, row_means(u), v, row_means(v)},
          {ProductTerm{1, {0, 2, -1, -1}}, ProductTerm{-1, {0, 3, -1, -1}},
           ProductTerm{-1, {1, 2, -1, -1}}, ProductTerm{1, {1, 3, -1, -1}}},
          product);
  combine({e, mlp_.mass_, mlp_.probability_, product, row_means(product)},
          {single(0), ProductTerm{1, {1, 2, 3, -1}}, ProductTerm{-1, {1, 2, 4, -1}}}, e);
  return e;
}

/// The dot product of two compact tensors, float64, on the host.
double MlpPass::dot(const TensorView& a, const TensorView& b) {
  TensorView left = a, right = b;
  const index_t entries = a.shape[0] * a.shape[1] * a.shape[2];
  left.shape = {1, 1, entries}, left.stride = {entries, entries, 1};
  right.ndim = 2, right.shape = {1, entries}, right.stride = {entries, 1};
  const Tensor sum(ctx_.device, DType::f64, {1, 1});
  Buffer workspace(ctx_.device, multi_dot_workspace_bytes(1, 1, entries));
  Context ctx = ctx_;
  ctx.workspace = workspace.span();
  multi_dot(ctx, left, right, sum);
  double result = 0;
  copy_bytes(ctx_, {}, &result, ctx_.device, sum.view().data, sizeof result);
  return result;
}

void MlpPass::compute_loss(const TensorView& output) {
  MlpObjective& mlp = mlp_;
  const double scale = mlp.data_.scale;
  const index_t rows = output.shape[1], cols = output.shape[2];
  TensorView& error = mlp.primal_.back().error;
  const TensorView target = take(1, rows, cols);
  TensorView given = mlp.data_.target;
  given.ndim = 3;
  given.shape = {1, rows, cols}, given.stride = {0, mlp.data_.target.stride[0], 1};
  combine({given}, {single(0)}, target);
  if (mlp.data_.loss == MlpLoss::squared_error) {
    const TensorView difference = take(1, rows, cols);
    combine({output, target}, {single(0), single(1, -1)}, difference);
    combine({difference}, {single(0, 2 * scale)}, error);
    mlp.loss_ = scale * dot(difference, difference);
    return;
  }
  mlp.probability_ = take(1, rows, cols, &mlp.kept_);
  mlp.mass_ = take(1, rows, 1, &mlp.kept_);
  const TensorView log_sum = take(1, rows, 1);
  softmax(ctx_, select(output, 0, 0), select(mlp.probability_, 0, 0), select(log_sum, 0, 0));
  multiply(target, transposed(narrow(mlp.ones_, 2, 0, cols)), mlp.mass_, false);
  mlp.loss_ = scale * (dot(mlp.mass_, log_sum) - dot(target, output));
  combine({mlp.mass_, mlp.probability_, target},
          {ProductTerm{scale, {0, 1, -1, -1}}, single(2, -scale)}, error);
  combine({mlp.mass_}, {single(0, scale)}, mlp.mass_);
}

}  // namespace hesscope
