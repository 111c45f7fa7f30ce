#include "bindings/call.h"
#include "hesscope/lanczos.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_lanczos(py::module_& m) {
  m.attr("LANCZOS_SCALE") = static_cast<int>(kLanczosScale);
  m.attr("LANCZOS_SCALE_PREV") = static_cast<int>(kLanczosScalePrev);
  m.attr("LANCZOS_BETA_PREV") = static_cast<int>(kLanczosBetaPrev);
  m.attr("LANCZOS_LARGEST") = static_cast<int>(kLanczosLargest);
  m.def("lanczos_update_workspace_bytes", &lanczos_update_workspace_bytes, "rows"_a, "n"_a);
  m.def(
      "lanczos_update",
      [](const TensorView& w, const TensorView& v, const TensorView& v_prev, const TensorView& next,
         const TensorView& state, const TensorView& alpha, const TensorView& beta,
         double breakdown_tolerance, const TensorView& workspace, const Call& call) {
        lanczos_update(call.context(w.device, workspace), w, v, v_prev, next, state, alpha, beta,
                       breakdown_tolerance);
      },
      "w"_a, "v"_a, "v_prev"_a, "next"_a, "state"_a, "alpha"_a, "beta"_a, py::kw_only(),
      "breakdown_tolerance"_a, "workspace"_a, "call"_a, py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
