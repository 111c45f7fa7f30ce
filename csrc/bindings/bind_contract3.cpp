#include "bindings/call.h"
#include "hesscope/contract3.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_contract3(py::module_& m) {
  using View = const TensorView&;
  m.def(
      "contract3",
      [](View t, View u, View v, View out, const Call& call) {
        contract3(call.context(u.device), t, u, v, out);
      },
      "t"_a, "u"_a, "v"_a, py::kw_only(), "out"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
  m.def(
      "contract3_scalar",
      [](View t, View u, View v, View w, View out, const Call& call) {
        contract3_scalar(call.context(u.device), t, u, v, w, out);
      },
      "t"_a, "u"_a, "v"_a, "w"_a, py::kw_only(), "out"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
  m.def(
      "higher_order_power",
      [](View t, View x, double shift, index_t num_steps, View value, View residual,
         const Call& call) {
        higher_order_power(call.context(x.device), t, x, shift, num_steps, value, residual);
      },
      "t"_a, "x"_a, py::kw_only(), "shift"_a, "num_steps"_a, "value"_a, "residual"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
