#include "network_file.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "hesscope/error.h"
#include "hesscope/safetensors.h"

namespace hesscope {
namespace {

constexpr std::string_view kWeight = "weight", kBias = "bias";

/// "2" and "weight" of "2.weight"; an empty name for the parameters of a lone layer.
std::string layer_of(std::string_view tensor, std::string_view kind) {
  if (tensor == kind) return "";
  return std::string(tensor.substr(0, tensor.size() - kind.size() - 1));
}

bool is_a(std::string_view tensor, std::string_view kind) {
  if (!tensor.ends_with(kind)) return false;
  tensor.remove_suffix(kind.size());
  return tensor.empty() || tensor.ends_with('.');
}

std::string tensor_of(const std::string& layer, std::string_view kind) {
  return std::string(layer).append(layer.empty() ? "" : ".").append(kind);
}

/// Numbers by their value, all else by its bytes: "2" before "10", "fc2" before "fc10".
bool natural_order(std::string_view a, std::string_view b) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto number = [&](std::string_view& text) {
    std::size_t length = 0;
    while (length < text.size() && digit(text[length])) ++length;
    std::string_view digits = text.substr(0, length);
    text.remove_prefix(length);
    while (digits.size() > 1 && digits[0] == '0') digits.remove_prefix(1);
    return digits;
  };
  while (!a.empty() && !b.empty()) {
    if (digit(a[0]) && digit(b[0])) {
      const std::string_view x = number(a), y = number(b);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
    } else if (a[0] != b[0]) {
      return a[0] < b[0];
    } else {
      a.remove_prefix(1), b.remove_prefix(1);
    }
  }
  return a.size() < b.size();
}

std::vector<std::string> layers_in(const SafetensorsFile& file) {
  std::vector<std::string> names;
  for (const StoredTensor& t : file.tensors()) {
    if (is_a(t.name, kWeight)) names.push_back(layer_of(t.name, kWeight));
  }
  std::sort(names.begin(), names.end(), natural_order);
  HESSCOPE_CHECK(ValueError, !names.empty(), file.path(),
                 ": must hold the weight of at least one layer (NAME.weight)");
  return names;
}

/// Every tensor belongs to a layer, and every layer is complete.
void check_names(const SafetensorsFile& file, const std::vector<std::string>& layers) {
  std::size_t biases = 0;
  for (const StoredTensor& t : file.tensors()) {
    const bool weight = is_a(t.name, kWeight), bias = is_a(t.name, kBias);
    const std::string layer = weight || bias ? layer_of(t.name, weight ? kWeight : kBias) : "";
    const bool used = (weight || bias) && std::count(layers.begin(), layers.end(), layer) == 1;
    HESSCOPE_CHECK(ValueError, used, file.path(),
                   ": must hold weights and biases of dense layers and ", "nothing else, got ",
                   t.text());
    biases += bias ? 1 : 0;
  }
  for (const std::string& layer : layers) {
    const std::string weight = tensor_of(layer, kWeight), bias = tensor_of(layer, kBias);
    HESSCOPE_CHECK(ValueError, file.find(weight) != nullptr, file.path(), ": ", weight,
                   " is missing");
    HESSCOPE_CHECK(ValueError, biases == 0 || file.find(bias) != nullptr, file.path(), ": ", bias,
                   " is missing, while another layer has a bias");
  }
}

void check_shapes(const SafetensorsFile& file, const std::vector<std::string>& layers) {
  const StoredTensor* before = nullptr;
  for (const std::string& layer : layers) {
    const StoredTensor& weight = *file.find(tensor_of(layer, kWeight));
    const StoredTensor* bias = file.find(tensor_of(layer, kBias));
    const bool matrix = weight.shape.size() == 2 && weight.shape[0] > 0 && weight.shape[1] > 0;
    HESSCOPE_CHECK(ValueError, matrix, file.path(), ": a weight must have shape [out, in], got ",
                   weight.text());
    HESSCOPE_CHECK(ValueError, before == nullptr || weight.shape[1] == before->shape[0],
                   file.path(), ": ", weight.text(), " cannot follow ",
                   before == nullptr ? "" : before->text(),
                   "; if the layers are in another order, name them (--layers)");
    if (bias != nullptr) {
      HESSCOPE_CHECK(ValueError, bias->shape == std::vector{weight.shape[0]}, file.path(),
                     ": a bias must have shape [", weight.shape[0], "] as ", weight.text(),
                     " has rows, got ", bias->text());
    }
    before = &weight;
  }
}

void check_dtypes(const SafetensorsFile& file) {
  const StoredTensor& first = file.tensors().front();
  for (const StoredTensor& t : file.tensors()) {
    const bool real = t.dtype == DType::f32 || t.dtype == DType::f64;
    HESSCOPE_CHECK(ValueError, real && t.dtype == first.dtype, file.path(),
                   ": the parameters must be all float32 or all float64, got ", first.text(),
                   " and ", t.text());
  }
}

std::vector<Activation> activations_of(const std::vector<std::string>& names, std::size_t depth) {
  HESSCOPE_CHECK(
      ValueError, names.size() == 1 || names.size() == depth,
      "--activation must name one activation for the hidden layers, or one for each of the ", depth,
      " layers, got ", names.size());
  std::vector<Activation> activations(depth, Activation::identity);
  for (std::size_t l = 0; l < depth; ++l) {
    if (names.size() == depth && depth > 1) {
      activations[l] = activation_of(names[l]);
    } else if (const Activation hidden = activation_of(names[0]); l + 1 < depth) {
      activations[l] = hidden;
    }
  }
  return activations;
}

}  // namespace

std::vector<index_t> Network::widths() const {
  std::vector<index_t> widths = {layers.front().weight.shape[1]};
  for (const MlpLayer& layer : layers) widths.push_back(layer.weight.shape[0]);
  return widths;
}

Network read_network(const Context& ctx, const std::string& path, std::vector<std::string> names,
                     const std::vector<std::string>& activations) {
  SafetensorsFile file(path);
  if (names.empty()) names = layers_in(file);
  check_names(file, names);
  check_dtypes(file);
  check_shapes(file, names);
  const std::vector<Activation> functions = activations_of(activations, names.size());
  Network network{.names = names, .layers = {}, .tensors = {}};
  for (std::size_t l = 0; l < names.size(); ++l) {
    MlpLayer layer{.weight = {}, .bias = {}, .activation = functions[l]};
    const auto load = [&](const StoredTensor& t) {
      network.tensors.push_back(to_device(ctx, file.read(t), ctx.device));
      return network.tensors.back().view();
    };
    layer.weight = load(*file.find(tensor_of(names[l], kWeight)));
    if (const StoredTensor* bias = file.find(tensor_of(names[l], kBias))) layer.bias = load(*bias);
    network.layers.push_back(layer);
  }
  return network;
}

}  // namespace hesscope
