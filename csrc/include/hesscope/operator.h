#pragma once

#include <cstdint>
#include <vector>

#include "hesscope/context.h"
#include "hesscope/sparse_matrix.h"
#include "hesscope/tensor.h"

namespace hesscope {

/// A symmetric matrix that is known by its products with vectors.
class Operator {
 public:
  Operator() = default;
  Operator(const Operator&) = delete;
  Operator& operator=(const Operator&) = delete;
  virtual ~Operator() = default;

  virtual index_t size() const = 0;
  virtual DType dtype() const = 0;    // of the vectors: float32 or float64
  virtual Device device() const = 0;  // where the vectors must be

  /// y = H x for the rows of x [K, n]; y [K, n] must not alias x. Ordered on the context's stream;
  /// ctx.workspace has at least workspace_bytes(K).
  virtual void apply(const Context& ctx, const TensorView& x, const TensorView& y) const = 0;
  virtual index_t workspace_bytes(index_t k) const = 0;
};

/// One whose size and rounding are known.
class BoundedOperator : public Operator {
 public:
  /// Bytes that a product with K vectors must at least read and write.
  virtual double bytes(index_t k) const = 0;

  /// Bounds: |computed H x - H x| <= rounding() * norm() * |x| in the 2-norm, and ||H|| <= norm().
  virtual double rounding() const = 0;
  virtual double norm() const = 0;
};

/// A sparse matrix in compressed rows, on one device, in one dtype.
class CsrOperator final : public BoundedOperator {
 public:
  /// Throws ShapeError or ValueError unless the matrix is square and symmetric.
  CsrOperator(const Context& ctx, const SparseMatrix& a, DType dtype);

  index_t size() const override { return row_start_.view().shape[0] - 1; }
  DType dtype() const override { return values_.view().dtype; }
  Device device() const override { return values_.view().device; }
  void apply(const Context& ctx, const TensorView& x, const TensorView& y) const override;
  index_t workspace_bytes(index_t k) const override;
  double bytes(index_t k) const override;
  double rounding() const override { return rounding_; }
  double norm() const override { return norm_; }

 private:
  Tensor row_start_, columns_, values_;
  double norm_ = 0, rounding_ = 0;
};

/// H = S W diag(eigenvalues) W S / n with the Walsh-Hadamard matrix W and random signs S: a full
/// matrix with a known spectrum, products in O(n log n), eigenvector i = S W e_i / sqrt(n).
class PrescribedSpectrumOperator final : public BoundedOperator {
 public:
  /// Eigenvalues in any order, a power of two of them (ValueError otherwise); stored in `dtype`.
  PrescribedSpectrumOperator(const Context& ctx, const std::vector<double>& eigenvalues,
                             DType dtype, std::uint64_t seed = 0);

  index_t size() const override { return signs_.view().shape[0]; }
  DType dtype() const override { return signs_.view().dtype; }
  Device device() const override { return signs_.view().device; }
  void apply(const Context& ctx, const TensorView& x, const TensorView& y) const override;
  index_t workspace_bytes(index_t) const override { return 0; }
  double bytes(index_t k) const override;
  double rounding() const override;
  double norm() const override { return norm_; }

  const Tensor& signs() const { return signs_; }  // [n]: the diagonal of S

  /// y = W S x / sqrt(n): the components of the rows of x in the eigenvectors.
  void to_eigenbasis(const Context& ctx, const TensorView& x, const TensorView& y) const;

 private:
  Tensor signs_, eigenvalues_;
  double norm_ = 0;
};

}  // namespace hesscope
