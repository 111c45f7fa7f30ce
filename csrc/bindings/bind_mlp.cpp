#include "bindings/call.h"
#include "hesscope/mlp.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {
namespace {

MlpObjective make(const std::vector<TensorView>& weights,
                  const std::vector<std::optional<TensorView>>& biases,
                  const std::vector<std::string>& activations, const TensorView& input,
                  const TensorView& target, const std::string& loss, double scale,
                  const Call& call) {
  std::vector<MlpLayer> layers(weights.size());
  for (std::size_t l = 0; l < layers.size(); ++l) {
    layers[l] = {weights[l], biases.at(l).value_or(TensorView{}), activation_of(activations.at(l))};
  }
  const MlpLoss kind = loss == "cross_entropy" ? MlpLoss::cross_entropy : MlpLoss::squared_error;
  return MlpObjective(call.context(input.device), std::move(layers), {input, target, kind, scale});
}

}  // namespace

void bind_mlp(py::module_& m) {
  using View = const TensorView&;
  const auto release = py::call_guard<py::gil_scoped_release>();
  py::class_<MlpObjective>(m, "MlpObjective", "Borrows its tensors: the caller keeps them alive.")
      .def(py::init(&make), py::kw_only(), "weights"_a, "biases"_a, "activations"_a, "input"_a,
           "target"_a, "loss"_a, "scale"_a, "call"_a, release)
      .def_property_readonly("size", &MlpObjective::size)
      .def_property_readonly("loss", &MlpObjective::loss)
      .def(
          "gradient",
          [](MlpObjective& self, View out, const Call& call) {
            self.gradient(call.context(out.device), out);
          },
          py::kw_only(), "out"_a, "call"_a, release)
      .def(
          "products",
          [](MlpObjective& self, View v, View out, const Call& call) {
            self.products(call.context(v.device), v, out);
          },
          "v"_a, py::kw_only(), "out"_a, "call"_a, release)
      .def(
          "quadratic",
          [](MlpObjective& self, View v, View out, const Call& call) {
            self.quadratic(call.context(v.device), v, out);
          },
          "v"_a, py::kw_only(), "out"_a, "call"_a, release)
      .def(
          "contract",
          [](MlpObjective& self, View u, View v, View out, const Call& call) {
            self.contract(call.context(v.device), u, v, out);
          },
          "u"_a, "v"_a, py::kw_only(), "out"_a, "call"_a, release)
      .def(
          "cubic",
          [](MlpObjective& self, View v, View out, const Call& call) {
            self.cubic(call.context(v.device), v, out);
          },
          "v"_a, py::kw_only(), "out"_a, "call"_a, release);
}

}  // namespace hesscope
