#include "bindings/call.h"
#include "hesscope/sparse.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_sparse(py::module_& m) {
  m.def(
      "csr_matvec_workspace_bytes",
      [](index_t k, index_t cols, const TensorView& values) {
        return csr_matvec_workspace_bytes(k, cols, values.dtype);
      },
      "k"_a, "cols"_a, "values"_a);
  m.def(
      "csr_matvec",
      [](const TensorView& row_start, const TensorView& columns, const TensorView& values,
         const TensorView& x, const TensorView& out, const TensorView& workspace,
         const Call& call) {
        csr_matvec(call.context(values.device, workspace), row_start, columns, values, x, out);
      },
      "row_start"_a, "columns"_a, "values"_a, "x"_a, py::kw_only(), "out"_a, "workspace"_a,
      "call"_a, py::call_guard<py::gil_scoped_release>());
  m.def("csr_lanczos_lanes", &csr_lanczos_lanes, "k"_a);
  m.def("csr_lanczos_update_workspace_bytes", &csr_lanczos_update_workspace_bytes, "k"_a, "n"_a);
  m.def(
      "csr_lanczos_update",
      [](const TensorView& row_start, const TensorView& columns, const TensorView& values,
         const TensorView& v, const TensorView& v_prev, const TensorView& state,
         const TensorView& alpha, const TensorView& beta, double breakdown_tolerance,
         const TensorView& workspace, const Call& call) {
        csr_lanczos_update(call.context(values.device, workspace), row_start, columns, values, v,
                           v_prev, state, alpha, beta, breakdown_tolerance);
      },
      "row_start"_a, "columns"_a, "values"_a, "v"_a, "v_prev"_a, "state"_a, "alpha"_a, "beta"_a,
      py::kw_only(), "breakdown_tolerance"_a, "workspace"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
  m.def("csr_check", &csr_check, "row_start"_a, "columns"_a, "cols"_a,
        py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
