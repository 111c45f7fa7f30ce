#include "bindings/call.h"
#include "hesscope/elementary.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_elementary(py::module_& m) {
  py::enum_<ElementaryFunction>(m, "ElementaryFunction", "The core's own float64 functions.")
      .value("exp", ElementaryFunction::exp)
      .value("log", ElementaryFunction::log)
      .value("sinpi", ElementaryFunction::sinpi)
      .value("cospi", ElementaryFunction::cospi)
      .value("normal_cdf", ElementaryFunction::normal_cdf);
  m.def(
      "elementary_map",
      [](ElementaryFunction function, const TensorView& x, const TensorView& out,
         const Call& call) { elementary_map(call.context(x.device), function, x, out); },
      "function"_a, "x"_a, py::kw_only(), "out"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
