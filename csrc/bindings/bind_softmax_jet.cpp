#include <vector>

#include "bindings/call.h"
#include "hesscope/softmax_jet.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {

void bind_softmax_jet(py::module_& m) {
  using Tensors = std::vector<TensorView>;
  using Maybe = std::optional<TensorView>;
  m.def(
      "softmax",
      [](const TensorView& x, const TensorView& p, const TensorView& log_sum, const Call& call) {
        softmax(call.context(x.device), x, p, log_sum);
      },
      "x"_a, py::kw_only(), "p"_a, "log_sum"_a, "call"_a, py::call_guard<py::gil_scoped_release>());
  m.def(
      "softmax_jet",
      [](const Tensors& x, const TensorView& p, const Maybe& w, bool logarithm, const Tensors& out,
         const Call& call) { softmax_jet(call.context(p.device), x, p, w, logarithm, out); },
      "x"_a, "p"_a, py::kw_only(), "w"_a, "logarithm"_a, "out"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
  m.def(
      "softmax_jet_backward",
      [](const Maybe& dg, const Maybe& dp, const TensorView& g, const TensorView& p,
         const TensorView& along, const TensorView& out, const Call& call) {
        softmax_jet_backward(call.context(p.device), dg, dp, g, p, along, out);
      },
      "dg"_a, "dp"_a, "g"_a, "p"_a, "along"_a, py::kw_only(), "out"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
