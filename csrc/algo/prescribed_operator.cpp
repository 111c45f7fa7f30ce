#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "hesscope/error.h"
#include "hesscope/hadamard.h"
#include "hesscope/operator.h"
#include "hesscope/probes.h"
#include "hesscope/scaling.h"

namespace hesscope {
namespace {

double inverse_root(index_t n) { return 1 / std::sqrt(static_cast<double>(n)); }

}  // namespace

PrescribedSpectrumOperator::PrescribedSpectrumOperator(const Context& ctx,
                                                       const std::vector<double>& eigenvalues,
                                                       DType dtype, std::uint64_t seed) {
  const auto n = static_cast<index_t>(eigenvalues.size());
  HESSCOPE_CHECK(
      ValueError, n >= 1 && std::has_single_bit(eigenvalues.size()),
      "PrescribedSpectrumOperator: the number of eigenvalues must be a power of two, got ", n);
  HESSCOPE_CHECK(DTypeError, dtype == DType::f32 || dtype == DType::f64,
                 "PrescribedSpectrumOperator: dtype must be float32 or float64");
  const Tensor host({}, dtype, {n});
  for (index_t i = 0; i < n; ++i) {
    norm_ = std::max(norm_, std::abs(eigenvalues[i]));
    if (dtype == DType::f32) {
      host.data<float>()[i] = static_cast<float>(eigenvalues[i]);
    } else {
      host.data<double>()[i] = eigenvalues[i];
    }
  }
  eigenvalues_ = to_device(ctx, host, ctx.device);

  signs_ = Tensor(ctx.device, dtype, {n});
  TensorView row = signs_;  // [1, n]
  row.ndim = 2;
  row.shape = {1, n};
  row.stride = {n, 1};
  // A probe of its own, far from those of a run with the same seed.
  const ProbeSpec spec{.kind = ProbeKind::rademacher,
                       .seed = seed,
                       .first_probe = index_t{std::numeric_limits<std::uint32_t>::max()},
                       .first_index = 0};
  probes(ctx, spec, row);
}

void PrescribedSpectrumOperator::to_eigenbasis(const Context& ctx, const TensorView& x,
                                               const TensorView& y) const {
  scale_columns(ctx, signs_, x, y);
  walsh_hadamard(ctx, y, inverse_root(size()));
}

void PrescribedSpectrumOperator::apply(const Context& ctx, const TensorView& x,
                                       const TensorView& y) const {
  to_eigenbasis(ctx, x, y);
  scale_columns(ctx, eigenvalues_, y, y);
  walsh_hadamard(ctx, y, inverse_root(size()));
  scale_columns(ctx, signs_, y, y);
}

double PrescribedSpectrumOperator::bytes(index_t k) const {
  // Three scalings and two transforms, each reading and writing at least once.
  const auto vectors = static_cast<double>(5 * 2 * k);
  return (vectors + 3) * static_cast<double>(size() * size_of(dtype()));
}

double PrescribedSpectrumOperator::rounding() const {
  const double eps = dtype() == DType::f32 ? std::numeric_limits<float>::epsilon()
                                           : std::numeric_limits<double>::epsilon();
  return (2 * std::log2(static_cast<double>(size())) + 6) * eps;
}

}  // namespace hesscope
