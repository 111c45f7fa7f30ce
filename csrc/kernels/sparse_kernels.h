#pragma once

#include <cstdint>

#include "hesscope/context.h"
#include "hesscope/view.h"
#include "kernels/declare.h"
#include "kernels/workspace.h"

namespace hesscope {

/// Vectors that go through the matrix together. More are taken in chunks, one after another.
inline constexpr index_t kCsrChunk = 8;

/// Lanes of interleaved storage for `k` <= kCsrChunk vectors: the next power of two, so that every
/// width is compiled and a row of [cols, lanes] is one or two aligned vector loads.
constexpr index_t csr_lanes(index_t k) { return k <= 2 ? k : k <= 4 ? 4 : kCsrChunk; }

HESSCOPE_DECLARE_IN_EVERY_BACKEND(template <typename T, typename I> void csr_matvec(
                                      const Context& ctx, VectorView<const std::int64_t> row_start,
                                      VectorView<const I> columns, VectorView<const T> values,
                                      MatrixView<const T> x, MatrixView<T> y);)

/// A square matrix in compressed rows.
template <typename T, typename I>
struct CsrMatrix {
  const std::int64_t* row_start;  // [n + 1]
  const I* columns;               // [nnz]
  const T* values;                // [nnz]
  index_t n, nnz;
};

HESSCOPE_DECLARE_IN_EVERY_BACKEND(template <typename T, typename I> void csr_lanczos_update(
                                      const Context& ctx, const CsrMatrix<T, I>& a,
                                      MatrixView<const T> v, MatrixView<T> v_prev,
                                      MatrixView<double> state, VectorView<double> alpha,
                                      VectorView<double> beta, double breakdown_tolerance);)

}  // namespace hesscope

/// Every pair of a real and an index type, for explicit instantiations: X(T, I).
#define HESSCOPE_FOR_EACH_CSR_TYPE(X) \
  X(float, std::int32_t)              \
  X(float, std::int64_t)              \
  X(double, std::int32_t)             \
  X(double, std::int64_t)

#define HESSCOPE_INSTANTIATE_SPARSE(T, I)                                                        \
  template void csr_matvec<T, I>(const Context&, VectorView<const std::int64_t>,                 \
                                 VectorView<const I>, VectorView<const T>, MatrixView<const T>,  \
                                 MatrixView<T>);                                                 \
  template void csr_lanczos_update<T, I>(const Context&, const CsrMatrix<T, I>&,                 \
                                         MatrixView<const T>, MatrixView<T>, MatrixView<double>, \
                                         VectorView<double>, VectorView<double>, double);
