#include "hesscope/mlp_hessian.h"

#include <algorithm>

#include "hesscope/tensor.h"

namespace hesscope {
namespace {

constexpr index_t kStreams = 5;  // numbers an activation and direction that products need
constexpr index_t kWorkingSet = index_t{64} << 20;

index_t activation_bytes(const std::vector<MlpLayer>& layers, const MlpData& data) {
  index_t width = 0;
  for (const MlpLayer& layer : layers) width += layer.weight.shape[0];
  return data.input.shape[0] * width * size_of(data.input.dtype);
}

}  // namespace

MlpHessian::MlpHessian(const Context& ctx, std::vector<MlpLayer> layers, const MlpData& data)
    : mlp_(ctx, layers, data),
      dtype_(data.input.dtype),
      device_(data.input.device),
      rows_at_once_(
          std::max<index_t>(1, kWorkingSet / (kStreams * activation_bytes(layers, data)))) {}

void MlpHessian::apply(const Context& ctx, const TensorView& x, const TensorView& y) const {
  for (index_t r = 0; r < x.shape[0]; r += rows_at_once_) {
    const index_t rows = std::min(rows_at_once_, x.shape[0] - r);
    mlp_.products(ctx, narrow(x, 0, r, rows), narrow(y, 0, r, rows));
  }
}

}  // namespace hesscope
