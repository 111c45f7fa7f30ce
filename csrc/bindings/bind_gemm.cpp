#include "bindings/call.h"
#include "hesscope/gemm.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_gemm(py::module_& m) {
  m.def(
      "gemm_workspace_bytes",
      [](index_t rows, index_t columns, index_t depth, const TensorView& a) {
        return gemm_workspace_bytes(rows, columns, depth, a.dtype);
      },
      "m"_a, "n"_a, "k"_a, "a"_a);
  m.def(
      "gemm",
      [](const TensorView& a, const TensorView& x, const TensorView& c, double alpha, double beta,
         const TensorView& workspace,
         const Call& call) { gemm(call.context(a.device, workspace), alpha, a, x, beta, c); },
      "a"_a, "x"_a, "c"_a, py::kw_only(), "alpha"_a, "beta"_a, "workspace"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
