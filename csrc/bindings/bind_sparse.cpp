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
  m.def("csr_check", &csr_check, "row_start"_a, "columns"_a, "cols"_a,
        py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
