#pragma once

#include <string>
#include <vector>

#include "hesscope/mlp.h"
#include "hesscope/tensor.h"

namespace hesscope {

/// Dense layers with the tensors they are made of, on one device.
struct Network {
  std::vector<std::string> names;  // of the layers: "0", "2", ...
  std::vector<MlpLayer> layers;
  std::vector<Tensor> tensors;

  std::vector<index_t> widths() const;  // input, hidden layers, output
  DType dtype() const { return layers.front().weight.dtype; }
};

/// Read the state_dict of a dense network: "NAME.weight" [out, in] and "NAME.bias" [out] of every
/// layer, all float32 or all float64.
///
/// `names` are the layers in their order; if empty, all that there are, numbers in names compared
/// as numbers. `activations` are one a layer, or one for all but the last. Throws ValueError naming
/// the file and the tensor that is missing, too much, misshapen, of another dtype or not finite.
Network read_network(const Context& ctx, const std::string& path, std::vector<std::string> names,
                     const std::vector<std::string>& activations);

/// What a network is trained on, on the device of a context.
struct TrainingData {
  Tensor input, target;
  index_t rows() const { return input.view().shape[0]; }
};

/// Read "inputs" [M, ...] in the dtype of the network, and "targets": for cross_entropy classes [M]
/// (int32 or int64) or probabilities [M, out]; for squared_error values [M, out].
/// Throws ValueError naming the file and the tensor.
TrainingData read_data(const Context& ctx, const std::string& path, const Network& network,
                       MlpLoss loss);

}  // namespace hesscope
