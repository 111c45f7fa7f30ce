#pragma once

#include <functional>
#include <vector>

#include "bench.h"
#include "data.h"
#include "hesscope/tensor.h"

namespace hesscope::bench {

/// The elements of a vector as a contiguous tensor.
TensorView shaped(const TensorView& vector, std::initializer_list<index_t> shape);

/// An op with any number of inputs and outputs, each of which is handed over as a vector of all its
/// elements, to be shaped by the caller: verified against the reference, then timed on sets of
/// inputs. Outputs are poisoned before the op runs.
class OpProblem {
 public:
  using Views = std::vector<TensorView>;
  using Run = std::function<void(const Context&, const Views& inputs, const Views& outputs)>;
  using Bound = std::function<double(std::size_t output, index_t i)>;

  /// `inputs` are on the host, all of the dtype of the outputs.
  OpProblem(const Suite& suite, std::vector<Tensor> inputs, std::vector<index_t> output_sizes,
            Run run, int num_sets);

  void run(int set) { run_(suite_.context(), device_inputs_[set], views_of(outputs_)); }

  /// Largest error over its bound.
  double error(const Bound& bound);

  /// Likewise for an op that is a polynomial of its inputs, element by element: within so many
  /// roundings of the same polynomial of absolute values, which must have no negative coefficients.
  double error_of_polynomial(double roundings);

  /// What the reference finds, after error().
  double wanted(std::size_t output, index_t i) const { return element(wanted_[output], i); }

 private:
  static Views views_of(const std::vector<Tensor>& tensors);
  std::vector<Tensor> reference_of(const std::vector<Tensor>& inputs) const;

  const Suite& suite_;
  std::vector<Tensor> inputs_;
  std::vector<index_t> output_sizes_;
  Run run_;
  std::vector<std::vector<Tensor>> sets_;
  std::vector<Views> device_inputs_;
  std::vector<Tensor> outputs_, wanted_;
};

/// What a case reads and writes at least, in bytes: all inputs and all outputs once.
double bytes_of(DType dtype, const std::vector<index_t>& inputs,
                const std::vector<index_t>& outputs);

/// A host vector of uniform numbers in [low, low + 2).
Tensor random_vector(DType dtype, index_t size, std::uint64_t seed, double low = -1);

}  // namespace hesscope::bench
