#include "bindings/call.h"
#include "hesscope/error.h"

namespace py = pybind11;

namespace hesscope {

void bind_errors(py::module_& m) {
  const auto& error = py::register_exception<Error>(m, "Error", PyExc_RuntimeError);
  // Later registrations are tried first, so that each class finds its own translator.
  const auto derived = [&](py::handle builtin) { return py::make_tuple(error, builtin); };
  py::register_exception<ShapeError>(m, "ShapeError", derived(PyExc_ValueError));
  py::register_exception<ValueError>(m, "ValueError", derived(PyExc_ValueError));
  py::register_exception<DeviceError>(m, "DeviceError", derived(PyExc_ValueError));
  py::register_exception<WorkspaceError>(m, "WorkspaceError", derived(PyExc_ValueError));
  py::register_exception<DTypeError>(m, "DTypeError", derived(PyExc_TypeError));
  py::register_exception<NotCompiled>(m, "NotCompiled", error);
  py::register_exception<CudaError>(m, "CudaError", error);
}

}  // namespace hesscope
