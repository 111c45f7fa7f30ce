#include "bindings/call.h"
#include "hesscope/gram.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_gram(py::module_& m) {
  m.def("gram_workspace_bytes", &gram_workspace_bytes, "k"_a, "b"_a, "n"_a);
  m.def(
      "gram",
      [](const TensorView& q, const TensorView& w, const TensorView& out,
         const TensorView& workspace,
         const Call& call) { gram(call.context(q.device, workspace), q, w, out); },
      "q"_a, "w"_a, py::kw_only(), "out"_a, "workspace"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
