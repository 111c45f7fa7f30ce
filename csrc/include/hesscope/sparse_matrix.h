#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hesscope/types.h"

namespace hesscope {

/// A sparse matrix on the host in compressed rows: columns ascend within a row, none twice.
struct SparseMatrix {
  index_t rows = 0, cols = 0;
  std::vector<std::int64_t> row_start = {0};  // [rows + 1]
  std::vector<std::int64_t> columns;          // [nnz]
  std::vector<double> values;                 // [nnz]

  index_t nnz() const { return static_cast<index_t>(values.size()); }
};

/// One entry of a matrix in coordinates, counted from 0.
struct Entry {
  std::int64_t row, column;
  double value;
};

/// Compressed rows of entries in any order; entries of the same place are added, in their order.
/// Throws ValueError for an entry outside the matrix. O(rows + nnz log(nnz / rows)).
SparseMatrix from_entries(index_t rows, index_t cols, const std::vector<Entry>& entries);

/// Read a file in Matrix Market's coordinate format: real, integer or pattern (values 1), general
/// or symmetric (the other triangle is added) (Boisvert, Pozo, Remington 1996).
/// Throws ValueError naming the file and the line.
SparseMatrix read_matrix_market(const std::string& path);

/// Throws ShapeError unless square, and ValueError naming an entry that differs from its mirror.
/// Exact: a matrix that is symmetric only to rounding is refused. O(nnz log nnz).
void check_symmetric(const SparseMatrix& a);

}  // namespace hesscope
