#include "hesscope/sparse.h"

#include <cstdint>

#include "hesscope/lanczos.h"
#include "kernels/slab.h"
#include "kernels/sparse_kernels.h"
#include "ops/check.h"
#include "ops/dispatch.h"

namespace hesscope {
namespace {

void check_contiguous_vector(const char* op, Named argument) {
  check_vector(op, argument);
  const TensorView& t = argument.tensor;
  HESSCOPE_CHECK(ShapeError, t.stride[0] == 1 || t.shape[0] <= 1, op, ": ", argument.name,
                 " must be contiguous, got ", describe(argument.name, t), " with stride ",
                 t.stride[0]);
}

void check_pattern(const char* op, const TensorView& row_start, const TensorView& columns) {
  check_contiguous_vector(op, {"row_start", row_start});
  check_contiguous_vector(op, {"columns", columns});
  check_dtype(op, {"row_start", row_start}, {DType::i64});
  check_dtype(op, {"columns", columns}, {DType::i32, DType::i64});
  HESSCOPE_CHECK(ShapeError, row_start.shape[0] >= 1, op,
                 ": row_start must have one entry more than the matrix has rows, got ",
                 describe("row_start", row_start));
}

void check_row_starts(const TensorView& row_start, index_t nnz) {
  const auto* start = static_cast<const std::int64_t*>(row_start.data);
  const index_t rows = row_start.shape[0] - 1;
  HESSCOPE_CHECK(ValueError, start[0] == 0, "csr_check: row_start[0] must be 0, got ", start[0]);
  for (index_t i = 0; i < rows; ++i) {
    HESSCOPE_CHECK(ValueError, start[i] <= start[i + 1], "csr_check: row_start[", i + 1,
                   "] must be at least row_start[", i, "] = ", start[i], ", got ", start[i + 1]);
  }
  HESSCOPE_CHECK(ValueError, start[rows] == nnz, "csr_check: row_start[", rows,
                 "] must be the number of entries, ", nnz, ", got ", start[rows]);
}

template <typename I>
void check_columns(const TensorView& columns, index_t cols) {
  const I* column = static_cast<const I*>(columns.data);
  for (index_t p = 0; p < columns.shape[0]; ++p) {
    HESSCOPE_CHECK(ValueError, column[p] >= 0 && column[p] < cols, "csr_check: columns[", p,
                   "] must be in [0, ", cols, "), got ", column[p]);
  }
}

/// Call f with the type of the column indices.
template <typename F>
void visit_columns(const TensorView& columns, F&& f) {
  columns.dtype == DType::i32 ? f(Tag<std::int32_t>{}) : f(Tag<std::int64_t>{});
}

constexpr index_t kAlignmentSlack = 64;  // a backend may move the start to a cache line

}  // namespace

index_t csr_matvec_workspace_bytes(index_t k, index_t cols, DType dtype) {
  if (k <= 1) return 0;
  const index_t lanes = csr_lanes(k < kCsrChunk ? k : kCsrChunk);
  return aligned_bytes(cols * lanes * size_of(dtype)) + kAlignmentSlack;
}

void csr_matvec(const Context& ctx, const TensorView& row_start, const TensorView& columns,
                const TensorView& values, const TensorView& x, const TensorView& y) {
  constexpr const char* op = "csr_matvec";
  check_pattern(op, row_start, columns);
  check_contiguous_vector(op, {"values", values});
  check_matrix(op, {"x", x});
  check_output_matrix(op, {"y", y});
  check_device(
      op, ctx,
      {{"row_start", row_start}, {"columns", columns}, {"values", values}, {"x", x}, {"y", y}});
  check_dtype(op, {"values", values}, {DType::f32, DType::f64});
  check_same_dtype(op, {{"values", values}, {"x", x}, {"y", y}});
  check_shape(op, {"values", values}, {columns.shape[0]});
  check_shape(op, {"y", y}, {x.shape[0], row_start.shape[0] - 1});
  check_workspace(op, ctx, csr_matvec_workspace_bytes(x.shape[0], x.shape[1], x.dtype));
  if (y.shape[0] == 0 || y.shape[1] == 0) return;

  visit_real(op, {"values", values}, [&]<typename T>(Tag<T>) {
    visit_columns(columns, [&]<typename I>(Tag<I>) {
      HESSCOPE_DISPATCH(ctx, csr_matvec<T, I>(ctx, vector<const std::int64_t>(row_start),
                                              vector<const I>(columns), vector<const T>(values),
                                              matrix<const T>(x), matrix<T>(y)));
    });
  });
}

index_t csr_lanczos_lanes(index_t k) {
  HESSCOPE_CHECK(ValueError, k >= 0 && k <= kCsrChunk,
                 "csr_lanczos_update: recurrences must be at most ", kCsrChunk, ", got ", k);
  return csr_lanes(k);
}

index_t csr_lanczos_update_workspace_bytes(index_t k, index_t n) {
  return aligned_bytes(csr_lanczos_lanes(k) * num_slabs(n) * size_of(DType::f64));
}

void csr_lanczos_update(const Context& ctx, const TensorView& row_start, const TensorView& columns,
                        const TensorView& values, const TensorView& v, const TensorView& v_prev,
                        const TensorView& state, const TensorView& alpha, const TensorView& beta,
                        double breakdown_tolerance) {
  constexpr const char* op = "csr_lanczos_update";
  check_pattern(op, row_start, columns);
  check_contiguous_vector(op, {"values", values});
  check_dtype(op, {"values", values}, {DType::f32, DType::f64});
  check_shape(op, {"values", values}, {columns.shape[0]});
  check_output_matrix(op, {"state", state});
  const index_t n = row_start.shape[0] - 1, k = state.shape[0], lanes = csr_lanczos_lanes(k);
  check_compact(op, ctx, {"v", v}, {"values", values}, {n, lanes});
  check_compact(op, ctx, {"v_prev", v_prev}, {"values", values}, {n, lanes});
  check_shape(op, {"state", state}, {k, kLanczosStateSize});
  check_dtype(op, {"state", state}, {DType::f64});
  check_coefficients(op, {"alpha", alpha}, k);
  check_coefficients(op, {"beta", beta}, k);
  check_device(op, ctx,
               {{"row_start", row_start},
                {"columns", columns},
                {"values", values},
                {"state", state},
                {"alpha", alpha},
                {"beta", beta}});
  HESSCOPE_CHECK(ShapeError, n >= 1, op, ": the matrix must have at least one row");
  HESSCOPE_CHECK(ValueError, v.data != v_prev.data || k == 0, op,
                 ": v_prev must not share memory with v");
  HESSCOPE_CHECK(ValueError, breakdown_tolerance >= 0, op,
                 ": breakdown_tolerance must be at least 0, got ", breakdown_tolerance);
  check_workspace(op, ctx, csr_lanczos_update_workspace_bytes(k, n));
  if (k == 0) return;

  visit_real(op, {"values", values}, [&]<typename T>(Tag<T>) {
    visit_columns(columns, [&]<typename I>(Tag<I>) {
      const CsrMatrix<T, I> a{static_cast<const std::int64_t*>(row_start.data),
                              static_cast<const I*>(columns.data),
                              static_cast<const T*>(values.data), n, values.shape[0]};
      HESSCOPE_DISPATCH(ctx, csr_lanczos_update<T, I>(ctx, a, matrix<const T>(v), matrix<T>(v_prev),
                                                      matrix<double>(state), vector<double>(alpha),
                                                      vector<double>(beta), breakdown_tolerance));
    });
  });
}

void csr_check(const TensorView& row_start, const TensorView& columns, index_t cols) {
  check_pattern("csr_check", row_start, columns);
  for (const Named& argument : {Named{"row_start", row_start}, Named{"columns", columns}}) {
    HESSCOPE_CHECK(DeviceError, argument.tensor.device.type == DeviceType::cpu,
                   "csr_check: ", argument.name, " must be on the CPU, got ",
                   describe(argument.name, argument.tensor));
  }
  check_row_starts(row_start, columns.shape[0]);
  visit_columns(columns, [&]<typename I>(Tag<I>) { check_columns<I>(columns, cols); });
}

}  // namespace hesscope
