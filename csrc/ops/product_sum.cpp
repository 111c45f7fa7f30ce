#include "hesscope/product_sum.h"

#include <algorithm>

#include "kernels/product_sum_kernels.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {
namespace {

constexpr const char* kOp = "product_sum";

void check_terms(std::span<const ProductTerm> terms, int operands) {
  HESSCOPE_CHECK(ValueError, !terms.empty() && terms.size() <= kMaxProductTerms, kOp,
                 ": there must be 1 to ", kMaxProductTerms, " terms, got ", terms.size());
  for (const ProductTerm& term : terms) {
    bool ended = false;
    for (const int f : term.factor) {
      HESSCOPE_CHECK(ValueError, f >= -1 && f < operands && (f < 0 || !ended), kOp,
                     ": factors must be numbers of the ", operands, " operands, got ", f);
      ended = f < 0;
    }
    HESSCOPE_CHECK(ValueError, term.factor[0] >= 0, kOp, ": a term must have at least one factor");
  }
}

void check_operand(const Context& ctx, const TensorView& operand, const TensorView& out) {
  check_batch(kOp, {"operand", operand});
  check_device(kOp, ctx, {{"operand", operand}});
  check_same_dtype(kOp, {{"out", out}, {"operand", operand}});
  for (int dim = 0; dim < 3; ++dim) {
    HESSCOPE_CHECK(ShapeError, operand.shape[dim] == out.shape[dim] || operand.shape[dim] == 1, kOp,
                   ": each dimension of an operand must be that of out or 1, got ",
                   describe("operand", operand), " and ", describe("out", out));
  }
}

void check_output(const Context& ctx, const TensorView& out) {
  check_batch(kOp, {"out", out});
  check_device(kOp, ctx, {{"out", out}});
  check_dtype(kOp, {"out", out}, {DType::f32, DType::f64});
  const bool apart = (out.shape[1] <= 1 || out.stride[1] >= out.shape[2]) &&
                     (out.shape[0] <= 1 || out.stride[0] >= out.shape[2]);
  HESSCOPE_CHECK(ShapeError, apart, kOp, ": rows of out must not overlap, got ",
                 describe("out", out), " with strides [", out.stride[0], ", ", out.stride[1], ", ",
                 out.stride[2], ']');
}

/// Whether the rows of a matrix of the batch follow each other, or are one number for all of them.
bool collapses(const TensorView& t, index_t rows, index_t cols) {
  if (rows == 1) return true;
  if (t.shape[1] == 1) return t.shape[2] == 1;
  return t.shape[2] == cols && t.stride[1] == cols;
}

template <typename T>
ProductOperand<T> operand_of(const TensorView& t, index_t cols) {
  return {.data = static_cast<const T*>(t.data),
          .batch_stride = t.shape[0] == 1 ? 0 : t.stride[0],
          .row_stride = t.shape[1] == 1 ? 0 : t.stride[1],
          .one_column = t.shape[2] == 1 && cols != 1};
}

template <typename T>
void run(const Context& ctx, std::span<const TensorView> operands,
         std::span<const ProductTerm> terms, const TensorView& out) {
  ProductSum<T> sum{};
  for (std::size_t f = 0; f < kMaxProductOperands; ++f) {
    sum.operand[f] = operand_of<T>(operands[f < operands.size() ? f : 0], out.shape[2]);
  }
  sum.terms = static_cast<int>(terms.size());
  sum.operands = static_cast<int>(operands.size());
  for (std::size_t t = 0; t < terms.size(); ++t) {
    sum.scale[t] = static_cast<T>(terms[t].scale);
    std::copy(terms[t].factor.begin(), terms[t].factor.end(), sum.factor[t]);
  }
  BatchView<T> target = batch<T>(out);
  const auto fits = [&](const TensorView& t) { return collapses(t, out.shape[1], out.shape[2]); };
  if (fits(out) && std::all_of(operands.begin(), operands.end(), fits)) {  // long rows are faster
    target.cols *= target.rows;
    target.rows = 1;
    target.ld = target.cols;
  }
  HESSCOPE_DISPATCH(ctx, product_sum<T>(ctx, sum, target));
}

}  // namespace

void product_sum(const Context& ctx, std::span<const TensorView> operands,
                 std::span<const ProductTerm> terms, const TensorView& out) {
  HESSCOPE_CHECK(ValueError, !operands.empty() && operands.size() <= kMaxProductOperands, kOp,
                 ": there must be 1 to ", kMaxProductOperands, " operands, got ", operands.size());
  check_terms(terms, static_cast<int>(operands.size()));
  check_output(ctx, out);
  for (const TensorView& operand : operands) check_operand(ctx, operand, out);
  if (out.shape[0] == 0 || out.shape[1] == 0 || out.shape[2] == 0) return;
  visit_real(kOp, {"out", out}, [&]<typename T>(Tag<T>) { run<T>(ctx, operands, terms, out); });
}

}  // namespace hesscope
