#include "bindings/call.h"
#include "hesscope/scaling.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_scaling(py::module_& m) {
  m.def(
      "scale_columns",
      [](const TensorView& d, const TensorView& x, const TensorView& out, const Call& call) {
        scale_columns(call.context(x.device), d, x, out);
      },
      "d"_a, "x"_a, py::kw_only(), "out"_a, "call"_a, py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
