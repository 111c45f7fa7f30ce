#include "algo/mlp_pass.h"

#include <utility>

#include "hesscope/gemm.h"
#include "hesscope/orthogonalize.h"
#include "hesscope/tensor.h"

namespace hesscope {

TensorView transposed(TensorView t) {
  std::swap(t.shape[1], t.shape[2]);
  std::swap(t.stride[1], t.stride[2]);
  return t;
}

TensorView folded(TensorView t) {
  t.shape[1] *= t.shape[0];
  t.shape[0] = 1;
  return t;
}

namespace {

TensorView shaped(void* data, const TensorView& like, std::initializer_list<index_t> shape,
                  std::initializer_list<index_t> stride) {
  TensorView t = like;
  t.data = data;
  t.ndim = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), t.shape.begin());
  std::copy(stride.begin(), stride.end(), t.stride.begin());
  return t;
}

void* element_at(const TensorView& t, index_t offset) {
  return static_cast<std::byte*>(t.data) + offset * size_of(t.dtype);
}

}  // namespace

MlpPass::MlpPass(MlpObjective& mlp, const Context& ctx, index_t k) : mlp_(mlp), ctx_(ctx), k_(k) {}

TensorView MlpPass::take(index_t k, index_t rows, index_t cols, std::vector<Buffer>* keep) {
  const TensorView& like = mlp_.data_.input;
  const index_t bytes = k * rows * cols * size_of(like.dtype);
  if (keep != nullptr) {
    keep->emplace_back(ctx_.device, bytes);
    return shaped(keep->back().data(), like, {k, rows, cols}, {rows * cols, cols, 1});
  }
  std::vector<Buffer>& scratch = mlp_.scratch_;
  if (next_ == scratch.size()) scratch.emplace_back(ctx_.device, bytes);
  if (scratch[next_].bytes() < bytes) scratch[next_] = Buffer(ctx_.device, bytes);
  return shaped(scratch[next_++].data(), like, {k, rows, cols}, {rows * cols, cols, 1});
}

TensorView MlpPass::weight(std::size_t l) const {
  const TensorView& w = mlp_.layers_[l].weight;
  return shaped(w.data, w, {1, w.shape[0], w.shape[1]}, {0, w.stride[0], w.stride[1]});
}

TensorView MlpPass::weight_of(const TensorView& v, std::size_t l) const {
  const TensorView& w = mlp_.layers_[l].weight;
  return shaped(element_at(v, primal(l).offset), v, {k_, w.shape[0], w.shape[1]},
                {v.stride[0], w.shape[1], 1});
}

TensorView MlpPass::bias_of(const TensorView& v, std::size_t l) const {
  const TensorView& w = mlp_.layers_[l].weight;
  return shaped(element_at(v, primal(l).offset + w.shape[0] * w.shape[1]), v, {k_, 1, w.shape[0]},
                {v.stride[0], w.shape[0], 1});
}

TensorView MlpPass::derivative(std::size_t l, index_t order) const {
  return narrow(primal(l).derivatives, 0, order, 1);
}

void MlpPass::combine(std::initializer_list<TensorView> operands,
                      std::initializer_list<ProductTerm> terms, const TensorView& out) {
  product_sum(ctx_, std::span(operands.begin(), operands.size()),
              std::span(terms.begin(), terms.size()), out);
}

/// c (+)= scale * a x, where a matrix that stands alone serves the whole batch.
void MlpPass::multiply(const TensorView& a, const TensorView& x, const TensorView& c, bool add,
                       double scale) {
  const auto spread = [&](TensorView t) {
    if (t.shape[0] == 1) t.stride[0] = 0;
    t.shape[0] = c.shape[0];
    return t;
  };
  const index_t bytes = gemm_workspace_bytes(c.shape[1], c.shape[2], a.shape[2], c.dtype);
  if (mlp_.gemm_workspace_.bytes() < bytes) mlp_.gemm_workspace_ = Buffer(ctx_.device, bytes);
  Context ctx = ctx_;
  ctx.workspace = mlp_.gemm_workspace_.span();
  gemm(ctx, scale, spread(a), spread(x), add ? 1 : 0, c);
}

/// The part of a gradient that an error of a layer makes: its sum over the batch is the bias's.
void MlpPass::write_gradient(std::size_t l, const TensorView& delta, const TensorView& out) {
  multiply(transposed(delta), primal(l).below, weight_of(out, l), false);
  if (mlp_.layers_[l].bias.ndim == 0) return;
  const TensorView ones = narrow(mlp_.ones_, 2, 0, delta.shape[1]);
  multiply(ones, delta, bias_of(out, l), false);
}

void MlpPass::sum_all(const TensorView& t, const TensorView& out) {
  const index_t entries = t.shape[1] * t.shape[2];
  const TensorView rows = shaped(t.data, t, {k_, 1, entries}, {t.stride[0], entries, 1});
  const TensorView ones = shaped(mlp_.ones_.data, t, {k_, entries}, {0, 1});
  Buffer workspace(ctx_.device, multi_dot_workspace_bytes(k_, 1, entries));
  Context ctx = ctx_;
  ctx.workspace = workspace.span();
  multi_dot(ctx, rows, ones, out);
  synchronize(ctx_);  // before the workspace goes
}

}  // namespace hesscope
