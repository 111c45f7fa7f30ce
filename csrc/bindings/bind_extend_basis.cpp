#include "bindings/call.h"
#include "hesscope/extend_basis.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_extend_basis(py::module_& m) {
  m.def("extend_basis_workspace_bytes", &extend_basis_workspace_bytes, "batch"_a, "rows"_a, "n"_a);
  m.def(
      "extend_basis",
      [](const TensorView& q, const TensorView& v, const TensorView& w, const TensorView& before,
         const TensorView& after, const TensorView& out, const TensorView& workspace,
         const Call& call) {
        extend_basis(call.context(q.device, workspace), q, v, w, before, after, out);
      },
      "q"_a, "v"_a, "w"_a, py::kw_only(), "before"_a, "after"_a, "out"_a, "workspace"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
