#include <algorithm>
#include <cmath>
#include <limits>

#include "hesscope/error.h"
#include "hesscope/operator.h"
#include "hesscope/sparse.h"

namespace hesscope {
namespace {

/// A tensor of one dimension on the device, its elements converted from a host vector.
template <typename T, typename U>
Tensor upload(const Context& ctx, const std::vector<U>& values) {
  const auto count = static_cast<index_t>(values.size());
  const Tensor host({}, dtype_of<T>, {count});
  std::transform(values.begin(), values.end(), host.data<T>(),
                 [](U value) { return static_cast<T>(value); });
  return to_device(ctx, host, ctx.device);
}

}  // namespace

CsrOperator::CsrOperator(const Context& ctx, const SparseMatrix& a, DType dtype) {
  HESSCOPE_CHECK(DTypeError, dtype == DType::f32 || dtype == DType::f64,
                 "CsrOperator: dtype must be float32 or float64");
  check_symmetric(a);
  row_start_ = upload<std::int64_t>(ctx, a.row_start);
  // Narrow indices where they fit: the matrix is what a product reads most of.
  const bool narrow_columns = a.cols <= std::numeric_limits<std::int32_t>::max();
  columns_ =
      narrow_columns ? upload<std::int32_t>(ctx, a.columns) : upload<std::int64_t>(ctx, a.columns);
  values_ = dtype == DType::f32 ? upload<float>(ctx, a.values) : upload<double>(ctx, a.values);

  index_t longest = 0;
  for (index_t i = 0; i < a.rows; ++i) {
    double sum = 0;
    for (index_t p = a.row_start[i]; p < a.row_start[i + 1]; ++p) sum += std::abs(a.values[p]);
    norm_ = std::max(norm_, sum);
    longest = std::max(longest, a.row_start[i + 1] - a.row_start[i]);
  }
  const double eps = dtype == DType::f32 ? std::numeric_limits<float>::epsilon()
                                         : std::numeric_limits<double>::epsilon();
  rounding_ = static_cast<double>(longest + 2) * eps;  // a sum, its products, rounded values
}

void CsrOperator::apply(const Context& ctx, const TensorView& x, const TensorView& y) const {
  csr_matvec(ctx, row_start_, columns_, values_, x, y);
}

index_t CsrOperator::workspace_bytes(index_t k) const {
  return csr_matvec_workspace_bytes(k, size(), dtype());
}

double CsrOperator::bytes(index_t k) const {
  const auto of = [](const Tensor& t) {
    return static_cast<double>(t.view().shape[0] * size_of(t.view().dtype));
  };
  const auto vectors = static_cast<double>(2 * k * size() * size_of(dtype()));
  return of(row_start_) + of(columns_) + of(values_) + vectors;
}

}  // namespace hesscope
