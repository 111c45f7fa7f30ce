#include "bindings/call.h"
#include "hesscope/error.h"
#include "hesscope/product_sum.h"

namespace py = pybind11;
using namespace py::literals;

namespace hesscope {
namespace {

/// The numbers of a term's factors, as Python has them.
std::vector<ProductTerm> to_terms(const std::vector<double>& scales,
                                  const std::vector<std::vector<int>>& factors) {
  HESSCOPE_CHECK(ValueError, scales.size() == factors.size(),
                 "product_sum: there must be one scale for each term, got ", scales.size(), " for ",
                 factors.size());
  std::vector<ProductTerm> terms(scales.size());
  for (std::size_t t = 0; t < terms.size(); ++t) {
    HESSCOPE_CHECK(ValueError, factors[t].size() <= kMaxTermFactors,
                   "product_sum: a term must have at most ", kMaxTermFactors, " factors, got ",
                   factors[t].size());
    terms[t].scale = scales[t];
    std::copy(factors[t].begin(), factors[t].end(), terms[t].factor.begin());
  }
  return terms;
}

}  // namespace

void bind_product_sum(py::module_& m) {
  m.def(
      "product_sum",
      [](const std::vector<TensorView>& operands, const std::vector<double>& scales,
         const std::vector<std::vector<int>>& factors, const TensorView& out, const Call& call) {
        product_sum(call.context(out.device), operands, to_terms(scales, factors), out);
      },
      "operands"_a, "scales"_a, "factors"_a, py::kw_only(), "out"_a, "call"_a,
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace hesscope
