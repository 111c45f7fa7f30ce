#include "bindings/call.h"
#include "hesscope/activation.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_activation(py::module_& m) {
  m.def(
      "activation_derivatives",
      [](const std::string& name, const TensorView& x, const TensorView& out, const Call& call) {
        activation_derivatives(call.context(x.device), activation_of(name), x, out);
      },
      "name"_a, "x"_a, py::kw_only(), "out"_a, "call"_a, py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
