#include <vector>

#include "bindings/call.h"
#include "hesscope/factor_sum.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_factor_sum(py::module_& m) {
  m.def(
      "factor_sum",
      [](const std::vector<TensorView>& factors, const std::vector<TensorView>& tangents,
         double scale, bool add, const TensorView& out, const Call& call) {
        factor_sum(call.context(out.device), factors, tangents, scale, add, out);
      },
      "factors"_a, "tangents"_a, py::kw_only(), "scale"_a, "add"_a, "out"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
