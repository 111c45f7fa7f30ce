#include "hesscope/mlp.h"

#include <algorithm>
#include <utility>

#include "algo/mlp_pass.h"
#include "hesscope/error.h"
#include "hesscope/tensor.h"

namespace hesscope {
namespace {

constexpr const char* kName = "MlpObjective";

bool contiguous_rows(const TensorView& t) {
  const int last = t.ndim - 1;
  return t.shape[last] <= 1 || t.stride[last] == 1;
}

void check_tensor(const TensorView& t, int ndim, const TensorView& like, const char* name,
                  std::size_t layer) {
  HESSCOPE_CHECK(ShapeError, t.ndim == ndim && contiguous_rows(t), kName, ": ", name, " of layer ",
                 layer, " must have ", ndim, " dimensions, the last contiguous, got ", t.ndim);
  HESSCOPE_CHECK(DTypeError, t.dtype == like.dtype, kName, ": ", name, " of layer ", layer,
                 " must have the dtype of the input");
  HESSCOPE_CHECK(DeviceError, t.device == like.device, kName, ": ", name, " of layer ", layer,
                 " must be on the device of the input");
}

void check(const std::vector<MlpLayer>& layers, const MlpData& data) {
  const TensorView& x = data.input;
  HESSCOPE_CHECK(ShapeError, !layers.empty(), kName, ": there must be at least one layer");
  HESSCOPE_CHECK(DTypeError, x.dtype == DType::f32 || x.dtype == DType::f64, kName,
                 ": the input must be float32 or float64");
  check_tensor(x, 2, x, "the input", 0);
  check_tensor(data.target, 2, x, "the target", 0);
  index_t width = x.shape[1];
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const TensorView &w = layers[l].weight, &b = layers[l].bias;
    check_tensor(w, 2, x, "the weight", l);
    HESSCOPE_CHECK(ShapeError, w.shape[1] == width, kName, ": the weight of layer ", l,
                   " must have ", width, " columns, got [", w.shape[0], ", ", w.shape[1], ']');
    width = w.shape[0];
    if (b.ndim == 0) continue;
    check_tensor(b, 1, x, "the bias", l);
    HESSCOPE_CHECK(ShapeError, b.shape[0] == width, kName, ": the bias of layer ", l, " must have ",
                   width, " entries, got ", b.shape[0]);
  }
  const TensorView& t = data.target;
  HESSCOPE_CHECK(ShapeError, t.shape[0] == x.shape[0] && t.shape[1] == width, kName,
                 ": the target must have shape [", x.shape[0], ", ", width, "], got [", t.shape[0],
                 ", ", t.shape[1], ']');
  HESSCOPE_CHECK(ShapeError, x.shape[0] >= 1 && x.shape[1] >= 1 && width >= 1, kName,
                 ": the batch, the input and the output must not be empty");
}

void check_rows(const char* name, const TensorView& t, index_t k, index_t n, DType dtype) {
  const bool shape = t.ndim == 2 && (k < 0 || t.shape[0] == k) && t.shape[1] == n;
  HESSCOPE_CHECK(ShapeError, shape, kName, ": ", name, " must have shape [",
                 k < 0 ? "K" : std::to_string(k), ", ", n, "], got [", t.shape[0], ", ",
                 t.ndim == 2 ? t.shape[1] : 0, ']');
  HESSCOPE_CHECK(ShapeError, contiguous_rows(t) && (t.shape[0] <= 1 || t.stride[0] >= n), kName,
                 ": ", name, " must have contiguous rows that do not overlap");
  HESSCOPE_CHECK(DTypeError, t.dtype == dtype, kName, ": ", name,
                 " must have the dtype of the network");
}

bool same(const TensorView& u, const TensorView& v) {
  return u.data == v.data && (u.shape[0] <= 1 || u.stride[0] == v.stride[0]);
}

}  // namespace

MlpObjective::MlpObjective(const Context& ctx, std::vector<MlpLayer> layers, const MlpData& data)
    : layers_(std::move(layers)), data_(data) {
  check(layers_, data_);
  MlpPass(*this, ctx, 1).compute_primal();
}

void MlpPass::compute_primal() {
  MlpObjective& m = mlp_;
  TensorView x = m.data_.input;
  const index_t rows = x.shape[0];
  x.ndim = 3;
  x.shape = {1, rows, m.data_.input.shape[1]}, x.stride = {0, m.data_.input.stride[0], 1};
  index_t longest = std::max(rows, rows * m.layers_.back().weight.shape[0]);
  // f' of the identity is 1.
  const TensorView unit = take(2, 1, longest, &m.kept_), zero = take(1, 1, longest);
  copy_bytes(ctx_, ctx_.device, zero.data, {}, std::vector<std::byte>(longest * 8).data(),
             longest * size_of(zero.dtype));
  TensorView derivatives = unit;
  activation_derivatives(ctx_, Activation::identity, select(zero, 0, 0), derivatives);
  m.ones_ = narrow(unit, 0, 1, 1);

  for (std::size_t l = 0; l < depth(); ++l) {
    const MlpLayer& layer = m.layers_[l];
    const index_t out = layer.weight.shape[0];
    MlpObjective::Primal p;
    p.below = x;
    p.offset = m.size_;
    m.size_ += out * layer.weight.shape[1] + (layer.bias.ndim == 0 ? 0 : out);
    p.derivatives = take(4, rows, out, &m.kept_);
    p.error = take(1, rows, out, &m.kept_);
    p.delta = take(1, rows, out, &m.kept_);
    const TensorView z = take(1, rows, out);
    if (layer.bias.ndim != 0) {
      TensorView bias = layer.bias;
      bias.ndim = 3, bias.shape = {1, 1, out}, bias.stride = {out, out, 1};
      combine({bias}, {ProductTerm{1, {0, -1, -1, -1}}}, z);
    }
    m.primal_.push_back(p);
    multiply(x, transposed(weight(l)), z, layer.bias.ndim != 0);
    activation_derivatives(ctx_, layer.activation, select(z, 0, 0), p.derivatives);
    x = narrow(p.derivatives, 0, 0, 1);
  }
  compute_loss(x);
  for (std::size_t l = depth(); l-- > 0;) {
    const MlpObjective::Primal& p = m.primal_[l];
    combine({derivative(l, 1), p.error}, {ProductTerm{1, {0, 1, -1, -1}}}, p.delta);
    if (l > 0) multiply(p.delta, weight(l), m.primal_[l - 1].error, false);
  }
}

void MlpPass::gradient(const TensorView& out) {
  for (std::size_t l = 0; l < depth(); ++l) write_gradient(l, primal(l).delta, out);
}

void MlpObjective::gradient(const Context& ctx, const TensorView& out) {
  check_rows("out", out, 1, size_, data_.input.dtype);
  MlpPass(*this, ctx, 1).gradient(out);
}

void MlpObjective::products(const Context& ctx, const TensorView& v, const TensorView& out) {
  check_rows("v", v, -1, size_, data_.input.dtype);
  check_rows("out", out, v.shape[0], size_, data_.input.dtype);
  if (v.shape[0] == 0) return;
  MlpPass pass(*this, ctx, v.shape[0]);
  MlpStream first = pass.forward(v);
  pass.backward(v, first, out);
}

void MlpObjective::quadratic(const Context& ctx, const TensorView& v, const TensorView& out) {
  check_rows("v", v, -1, size_, data_.input.dtype);
  check_rows("out", out, v.shape[0], 1, DType::f64);
  if (v.shape[0] == 0) return;
  MlpPass pass(*this, ctx, v.shape[0]);
  const MlpStream first = pass.forward(v), second = pass.forward(v, first, v, first);
  const TensorView &o = first.active.back(), &o2 = second.active.back();
  const TensorView sum = pass.take(v.shape[0], o.shape[1], o.shape[2]);
  pass.combine({pass.loss_first(o), o}, {ProductTerm{1, {0, 1, -1, -1}}}, sum);
  if (o2.data != nullptr) {
    pass.combine({sum, primal_.back().error, o2},
                 {ProductTerm{1, {0, -1, -1, -1}}, ProductTerm{1, {1, 2, -1, -1}}}, sum);
  }
  pass.sum_all(sum, out);
}

void MlpObjective::contract(const Context& ctx, const TensorView& u, const TensorView& v,
                            const TensorView& out) {
  check_rows("u", u, -1, size_, data_.input.dtype);
  check_rows("v", v, u.shape[0], size_, data_.input.dtype);
  check_rows("out", out, u.shape[0], size_, data_.input.dtype);
  if (u.shape[0] == 0) return;
  MlpPass pass(*this, ctx, u.shape[0]);
  MlpStream by_u = pass.forward(u);
  pass.backward(u, by_u, {});
  MlpStream by_v;
  if (!same(u, v)) {
    by_v = pass.forward(v);
    pass.backward(v, by_v, {});
  }
  const MlpStream& other = same(u, v) ? by_u : by_v;
  MlpStream second = pass.forward(u, by_u, v, other);
  pass.backward(u, by_u, v, other, second, out);
}

void MlpObjective::cubic(const Context& ctx, const TensorView& v, const TensorView& out) {
  check_rows("v", v, -1, size_, data_.input.dtype);
  check_rows("out", out, v.shape[0], 1, DType::f64);
  if (v.shape[0] == 0) return;
  MlpPass pass(*this, ctx, v.shape[0]);
  const MlpStream first = pass.forward(v), second = pass.forward(v, first, v, first),
                  third = pass.forward3(v, first, second);
  const TensorView &o = first.active.back(), &o2 = second.active.back(), &o3 = third.active.back();
  const TensorView sum = pass.take(v.shape[0], o.shape[1], o.shape[2]);
  pass.combine({pass.loss_second(o, o, {}), o}, {ProductTerm{1, {0, 1, -1, -1}}}, sum);
  const ProductTerm keep{1, {0, -1, -1, -1}};
  if (o2.data != nullptr) {
    pass.combine({sum, pass.loss_first(o), o2}, {keep, ProductTerm{3, {1, 2, -1, -1}}}, sum);
  }
  if (o3.data != nullptr) {
    pass.combine({sum, primal_.back().error, o3}, {keep, ProductTerm{1, {1, 2, -1, -1}}}, sum);
  }
  pass.sum_all(sum, out);
}

}  // namespace hesscope
