#include "bindings/call.h"
#include "hesscope/density.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_density(py::module_& m) {
  const auto define = [&](const char* name, auto op) {
    m.def(
        name,
        [op](const TensorView& nodes, const TensorView& weights, const TensorView& grid,
             double sigma, const TensorView& out, const Call& call) {
          op(call.context(nodes.device), nodes, weights, grid, sigma, out);
        },
        "nodes"_a, "weights"_a, "grid"_a, py::kw_only(), "sigma"_a, "out"_a, "call"_a,
        py::call_guard<py::gil_scoped_release>());
  };
  define("smoothed_density", &smoothed_density);
  define("smoothed_cdf", &smoothed_cdf);
}

}  // namespace hesscope
