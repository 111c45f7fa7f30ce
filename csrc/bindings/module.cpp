#include <pybind11/pybind11.h>

#include "bindings/call.h"
#include "bindings/tensor_caster.h"
#include "hesscope/buffer.h"
#include "hesscope/build.h"

namespace py = pybind11;

namespace hesscope {

void bind_activation(py::module_& m);
void bind_contract3(py::module_& m);
void bind_density(py::module_& m);
void bind_elementary(py::module_& m);
void bind_extend_basis(py::module_& m);
void bind_factor_sum(py::module_& m);
void bind_gemm(py::module_& m);
void bind_gram(py::module_& m);
void bind_hadamard(py::module_& m);
void bind_lanczos(py::module_& m);
void bind_mlp(py::module_& m);
void bind_norm_jet(py::module_& m);
void bind_orthogonalize(py::module_& m);
void bind_pointwise_jet(py::module_& m);
void bind_probes(py::module_& m);
void bind_product_sum(py::module_& m);
void bind_scaling(py::module_& m);
void bind_softmax_jet(py::module_& m);
void bind_sparse(py::module_& m);
void bind_tridiagonal(py::module_& m);

}  // namespace hesscope

PYBIND11_MODULE(_core, m) {
  m.doc() = "The C++ core of hesscope. Use it through the package: only hesscope._ops imports it.";
  hesscope::bind_errors(m);
  hesscope::bind_call(m);
  hesscope::bind_activation(m);
  hesscope::bind_contract3(m);
  hesscope::bind_density(m);
  hesscope::bind_elementary(m);
  hesscope::bind_extend_basis(m);
  hesscope::bind_factor_sum(m);
  hesscope::bind_gemm(m);
  hesscope::bind_gram(m);
  hesscope::bind_hadamard(m);
  hesscope::bind_lanczos(m);
  hesscope::bind_mlp(m);
  hesscope::bind_norm_jet(m);
  hesscope::bind_orthogonalize(m);
  hesscope::bind_pointwise_jet(m);
  hesscope::bind_probes(m);
  hesscope::bind_product_sum(m);
  hesscope::bind_scaling(m);
  hesscope::bind_softmax_jet(m);
  hesscope::bind_sparse(m);
  hesscope::bind_tridiagonal(m);
  m.def("prefer_huge_pages", [](const hesscope::TensorView& memory) {  // contiguous
    hesscope::prefer_huge_pages(memory.data,
                                memory.shape[0] * memory.stride[0] * size_of(memory.dtype));
  });
  m.def("build_info", [] {
    const hesscope::BuildInfo info = hesscope::build_info();
    return py::dict(py::arg("version") = info.version, py::arg("compiler") = info.compiler,
                    py::arg("cuda") = info.cuda, py::arg("blas") = info.blas,
                    py::arg("cpu_level") = info.cpu_level);
  });
}
