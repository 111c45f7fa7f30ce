#include "bindings/call.h"
#include "hesscope/tridiagonal.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_tridiagonal(py::module_& m) {
  m.def("tridiagonal_eigen_workspace_bytes", &tridiagonal_eigen_workspace_bytes, "batch"_a, "m"_a);
  m.def(
      "tridiagonal_eigen",
      [](const TensorView& alpha, const TensorView& beta, const TensorView& nodes,
         const TensorView& first, const TensorView& last, const TensorView& workspace,
         const Call& call) {
        tridiagonal_eigen(call.context(alpha.device, workspace), alpha, beta, nodes, first, last);
      },
      "alpha"_a, "beta"_a, py::kw_only(), "nodes"_a, "first"_a, "last"_a, "workspace"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
  m.def(
      "sturm_count",
      [](const TensorView& alpha, const TensorView& beta, const TensorView& x,
         const TensorView& out,
         const Call& call) { sturm_count(call.context(alpha.device), alpha, beta, x, out); },
      "alpha"_a, "beta"_a, "x"_a, py::kw_only(), "out"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
