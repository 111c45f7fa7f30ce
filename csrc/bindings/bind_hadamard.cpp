#include "bindings/call.h"
#include "hesscope/hadamard.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_hadamard(py::module_& m) {
  m.def(
      "walsh_hadamard",
      [](const TensorView& x, double scale, const Call& call) {
        walsh_hadamard(call.context(x.device), x, scale);
      },
      "x"_a, py::kw_only(), "scale"_a, "call"_a, py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
