#include "bindings/call.h"
#include "hesscope/orthogonalize.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_orthogonalize(py::module_& m) {
  m.def("multi_dot_workspace_bytes", &multi_dot_workspace_bytes, "batch"_a, "k"_a, "n"_a);
  m.def(
      "multi_dot",
      [](const TensorView& q, const TensorView& w, const TensorView& out,
         const TensorView& workspace,
         const Call& call) { multi_dot(call.context(q.device, workspace), q, w, out); },
      "q"_a, "w"_a, py::kw_only(), "out"_a, "workspace"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
  m.def(
      "multi_axpy",
      [](const TensorView& q, const TensorView& c, const TensorView& w, double scale,
         const Call& call) { multi_axpy(call.context(q.device), q, c, w, scale); },
      "q"_a, "c"_a, "w"_a, py::kw_only(), "scale"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
