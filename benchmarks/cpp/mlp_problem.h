#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bench.h"
#include "hesscope/mlp.h"
#include "hesscope/tensor.h"

namespace hesscope::bench {

/// A network of dense layers with biases, the last one linear, and the size of its batch.
struct MlpShape {
  std::vector<index_t> widths;  // input, hidden layers, output
  index_t rows = 32;            // M
  index_t vectors = 8;          // K
  Activation activation = Activation::tanh;
  MlpLoss loss = MlpLoss::cross_entropy;

  std::size_t depth() const { return widths.size() - 1; }
  index_t size() const;  // n

  /// Operations of products of matrices: first * that of the first layer + later * of the others.
  double flops(double first, double later) const;

  Case named(std::string op, DType dtype, double first, double later) const;
};

/// --widths, --rows, --vectors, --activation and --loss; `given` tells whether any was used.
std::vector<Flag> mlp_flags(MlpShape& shape, bool& given);

/// Networks to verify: every activation, both losses, awkward widths.
std::vector<MlpShape> checked_mlps();

/// Random parameters of moderate size, and vectors [K, n]: numbers that float32 holds exactly.
std::vector<double> random_parameters(const MlpShape& shape);
std::vector<double> random_vectors(const MlpShape& shape, std::uint64_t seed);

/// A network with its parameters, data and classes or values to fit, on the device of a context.
class MlpProblem {
 public:
  MlpProblem(const Context& ctx, DType dtype, const MlpShape& shape,
             const std::vector<double>& parameters);

  /// Computes the forward and the backward pass of the network.
  MlpObjective objective() const;

 private:
  Context ctx_;
  MlpShape shape_;
  Tensor parameters_, input_, target_;
};

/// Rows of numbers as a tensor [rows, n] on the device of a context, and back.
Tensor upload(const Context& ctx, DType dtype, const std::vector<double>& values, index_t rows);
std::vector<double> download(const Context& ctx, const TensorView& t);

}  // namespace hesscope::bench
