#pragma once

#include <vector>

#include "hesscope/mlp.h"
#include "hesscope/operator.h"

namespace hesscope {

/// The Hessian of a multilayer perceptron's loss, as an operator; see MlpObjective. Its memory is
/// used by one call at a time.
class MlpHessian final : public Operator {
 public:
  MlpHessian(const Context& ctx, std::vector<MlpLayer> layers, const MlpData& data);

  index_t size() const override { return mlp_.size(); }
  DType dtype() const override { return dtype_; }
  Device device() const override { return device_; }
  double loss() const { return mlp_.loss(); }

  /// Rows are taken together as long as what they need in between fits 64 MB.
  void apply(const Context& ctx, const TensorView& x, const TensorView& y) const override;
  index_t workspace_bytes(index_t) const override { return 0; }

 private:
  mutable MlpObjective mlp_;
  DType dtype_;
  Device device_;
  index_t rows_at_once_ = 1;
};

}  // namespace hesscope
