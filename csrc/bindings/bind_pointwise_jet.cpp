#include <vector>

#include "bindings/call.h"
#include "hesscope/pointwise_jet.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_pointwise_jet(py::module_& m) {
  using Maybe = std::optional<TensorView>;
  using Tensors = std::vector<Maybe>;
  py::enum_<Monomials>(m, "Monomials", "Whose coefficients a jet carries beside its value.")
      .value("one", Monomials::one)
      .value("two", Monomials::two)
      .value("three", Monomials::three)
      .value("mixed", Monomials::mixed);
  m.def(
      "pointwise_jet",
      [](Monomials monomials, const TensorView& taylor, const Tensors& x, const Maybe& g_value,
         const Tensors& g, const Tensors& out, const Call& call) {
        pointwise_jet(call.context(taylor.device), monomials, taylor, x, g_value, g, out);
      },
      "monomials"_a, "taylor"_a, "x"_a, py::kw_only(), "g_value"_a, "g"_a, "out"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
