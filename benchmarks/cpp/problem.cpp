#include "problem.h"

#include <cmath>

namespace hesscope::bench {

TensorView shaped(const TensorView& vector, std::initializer_list<index_t> shape) {
  TensorView t = vector;
  t.ndim = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), t.shape.begin());
  index_t stride = 1;
  for (int d = t.ndim - 1; d >= 0; --d) {
    t.stride[d] = stride;
    stride *= t.shape[d];
  }
  return t;
}

OpProblem::OpProblem(const Suite& suite, std::vector<Tensor> inputs,
                     std::vector<index_t> output_sizes, Run run, int num_sets)
    : suite_(suite),
      inputs_(std::move(inputs)),
      output_sizes_(std::move(output_sizes)),
      run_(std::move(run)) {
  for (int set = 0; set < num_sets; ++set) {
    std::vector<Tensor> tensors;
    for (const Tensor& input : inputs_) {
      tensors.push_back(to_device(suite_.context(), input, suite_.context().device));
    }
    device_inputs_.push_back(views_of(tensors));
    sets_.push_back(std::move(tensors));
  }
  for (const index_t size : output_sizes_) {
    outputs_.push_back(poisoned(suite_.context(), inputs_[0].view().dtype, {size}));
  }
}

OpProblem::Views OpProblem::views_of(const std::vector<Tensor>& tensors) {
  return {tensors.begin(), tensors.end()};
}

std::vector<Tensor> OpProblem::reference_of(const std::vector<Tensor>& inputs) const {
  std::vector<Tensor> found;
  for (const index_t size : output_sizes_) {
    found.push_back(poisoned(suite_.reference(), inputs[0].view().dtype, {size}));
  }
  run_(suite_.reference(), views_of(inputs), views_of(found));
  return found;
}

double OpProblem::error(const Bound& bound) {
  run(0);
  wanted_ = reference_of(inputs_);
  double worst = 0;
  for (std::size_t j = 0; j < outputs_.size(); ++j) {
    const Tensor got = to_host(suite_.context(), outputs_[j]);
    worst =
        worse(worst, worst_ratio(got, wanted_[j], [&](index_t, index_t i) { return bound(j, i); }));
  }
  return worst;
}

double OpProblem::error_of_polynomial(double roundings) {
  std::vector<Tensor> absolute;
  for (const Tensor& input : inputs_) {
    absolute.push_back(to_device(suite_.reference(), input, {}));
    const TensorView& t = absolute.back();
    for (index_t i = 0; i < t.shape[0]; ++i) set_element(t, i, std::abs(element(t, i)));
  }
  const std::vector<Tensor> sizes = reference_of(absolute);
  const double eps = epsilon(inputs_[0].view().dtype);
  return error(
      [&](std::size_t output, index_t i) { return roundings * eps * element(sizes[output], i); });
}

double bytes_of(DType dtype, const std::vector<index_t>& inputs,
                const std::vector<index_t>& outputs) {
  index_t elements = 0;
  for (const index_t size : inputs) elements += size;
  for (const index_t size : outputs) elements += size;
  return static_cast<double>(elements) * static_cast<double>(size_of(dtype));
}

Tensor random_vector(DType dtype, index_t size, std::uint64_t seed, double low) {
  Tensor t = random_tensor(dtype, {size}, seed);
  for (index_t i = 0; i < size; ++i) set_element(t, i, element(t, i) + (low + 1));
  return t;
}

}  // namespace hesscope::bench
