#include <vector>

#include "bindings/call.h"
#include "hesscope/norm_jet.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_norm_jet(py::module_& m) {
  using Tensors = std::vector<TensorView>;
  using Maybe = std::optional<TensorView>;
  m.def(
      "norm_jet",
      [](const Tensors& x, const TensorView& y, const TensorView& rstd, bool centred,
         const Tensors& out, const Tensors& mean_out, const Tensors& rstd_out, const Call& call) {
        norm_jet(call.context(y.device), x, y, rstd, centred, out, mean_out, rstd_out);
      },
      "x"_a, "y"_a, "rstd"_a, py::kw_only(), "centred"_a, "out"_a, "mean_out"_a, "rstd_out"_a,
      "call"_a, py::call_guard<py::gil_scoped_release>());
  m.def(
      "norm_jet_backward",
      [](const Maybe& dg, const Maybe& dy, const Maybe& drstd, const TensorView& g,
         const TensorView& y, const TensorView& rstd, const TensorView& moments, bool centred,
         const TensorView& out, const Call& call) {
        norm_jet_backward(call.context(y.device), dg, dy, drstd, g, y, rstd, moments, centred, out);
      },
      "dg"_a, "dy"_a, "drstd"_a, "g"_a, "y"_a, "rstd"_a, "moments"_a, py::kw_only(), "centred"_a,
      "out"_a, "call"_a, py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
