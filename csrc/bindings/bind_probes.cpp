#include "bindings/call.h"
#include "hesscope/error.h"
#include "hesscope/probes.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {
namespace {

ProbeSpec make_spec(const std::string& kind, std::uint64_t seed, index_t first_probe,
                    index_t first_index) {
  HESSCOPE_CHECK(ValueError, kind == "rademacher" || kind == "gaussian",
                 "kind must be rademacher or gaussian, got ", kind);
  return {.kind = kind == "gaussian" ? ProbeKind::gaussian : ProbeKind::rademacher,
          .seed = seed,
          .first_probe = first_probe,
          .first_index = first_index};
}

}  // namespace

void bind_probes(py::module_& m) {
  py::class_<ProbeSpec>(m, "ProbeSpec", "Which random numbers.")
      .def(py::init(&make_spec), py::kw_only(), "kind"_a, "seed"_a, "first_probe"_a,
           "first_index"_a);
  m.def(
      "probes",
      [](const ProbeSpec& spec, const TensorView& out, const Call& call) {
        probes(call.context(out.device), spec, out);
      },
      "spec"_a, py::kw_only(), "out"_a, "call"_a, py::call_guard<py::gil_scoped_release>());
  m.def("probe_dot_workspace_bytes", &probe_dot_workspace_bytes, "rows"_a, "n"_a);
  m.def(
      "probe_dot",
      [](const ProbeSpec& spec, const TensorView& w, const TensorView& out,
         const TensorView& workspace,
         const Call& call) { probe_dot(call.context(w.device, workspace), spec, w, out); },
      "spec"_a, "w"_a, py::kw_only(), "out"_a, "workspace"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
