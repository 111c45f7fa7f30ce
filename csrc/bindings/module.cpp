#include <pybind11/pybind11.h>

#include "bindings/call.h"
#include "hesscope/build.h"

namespace py = pybind11;

namespace hesscope {

void bind_orthogonalize(py::module_& m);
void bind_tridiagonal(py::module_& m);
void bind_sparse(py::module_& m);
void bind_hadamard(py::module_& m);

}  // namespace hesscope

PYBIND11_MODULE(_core, m) {
  m.doc() = "The C++ core of hesscope. Use it through the package: only hesscope._ops imports it.";
  hesscope::bind_errors(m);
  hesscope::bind_call(m);
  hesscope::bind_orthogonalize(m);
  hesscope::bind_tridiagonal(m);
  hesscope::bind_sparse(m);
  hesscope::bind_hadamard(m);
  m.def("build_info", [] {
    const hesscope::BuildInfo info = hesscope::build_info();
    return py::dict(py::arg("version") = info.version, py::arg("compiler") = info.compiler,
                    py::arg("cuda") = info.cuda, py::arg("cpu_level") = info.cpu_level);
  });
}
