#include "hesscope/sparse_matrix.h"

#include <algorithm>

#include "hesscope/error.h"

namespace hesscope {
namespace {

/// Sort each row by column, and add entries of the same place.
void tidy_rows(SparseMatrix& a, std::vector<Entry>& sorted) {
  std::vector<std::int64_t> start = {0};
  start.reserve(a.row_start.size());
  for (index_t i = 0; i < a.rows; ++i) {
    const auto begin = sorted.begin() + a.row_start[i], end = sorted.begin() + a.row_start[i + 1];
    std::stable_sort(begin, end,
                     [](const Entry& x, const Entry& y) { return x.column < y.column; });
    for (auto entry = begin; entry != end; ++entry) {
      const bool again = a.nnz() > start.back() && a.columns.back() == entry->column;
      if (again) {
        a.values.back() += entry->value;
      } else {
        a.columns.push_back(entry->column);
        a.values.push_back(entry->value);
      }
    }
    start.push_back(a.nnz());
  }
  a.row_start = std::move(start);
}

}  // namespace

SparseMatrix from_entries(index_t rows, index_t cols, const std::vector<Entry>& entries) {
  SparseMatrix a;
  a.rows = rows;
  a.cols = cols;
  a.row_start.assign(static_cast<std::size_t>(rows) + 1, 0);
  for (const Entry& entry : entries) {
    const bool inside =
        entry.row >= 0 && entry.row < rows && entry.column >= 0 && entry.column < cols;
    HESSCOPE_CHECK(ValueError, inside, "from_entries: entry (", entry.row, ", ", entry.column,
                   ") must lie inside the matrix of shape [", rows, ", ", cols, "]");
    ++a.row_start[entry.row + 1];
  }
  for (index_t i = 0; i < rows; ++i) a.row_start[i + 1] += a.row_start[i];

  std::vector<Entry> sorted(entries.size());  // by row
  std::vector<std::int64_t> next(a.row_start.begin(), a.row_start.end() - 1);
  for (const Entry& entry : entries) sorted[next[entry.row]++] = entry;
  a.columns.reserve(entries.size());
  a.values.reserve(entries.size());
  tidy_rows(a, sorted);
  return a;
}

void check_symmetric(const SparseMatrix& a) {
  HESSCOPE_CHECK(ShapeError, a.rows == a.cols, "check_symmetric: the matrix must be square, got [",
                 a.rows, ", ", a.cols, "]");
  for (index_t i = 0; i < a.rows; ++i) {
    for (index_t p = a.row_start[i]; p < a.row_start[i + 1]; ++p) {
      const index_t j = a.columns[p];
      const auto begin = a.columns.begin() + a.row_start[j];
      const auto end = a.columns.begin() + a.row_start[j + 1];
      const auto mirror = std::lower_bound(begin, end, i);
      const bool found = mirror != end && *mirror == i;
      const double value = found ? a.values[mirror - a.columns.begin()] : 0;
      HESSCOPE_CHECK(ValueError, value == a.values[p],
                     "check_symmetric: the matrix must be symmetric, but its entries (row ", i + 1,
                     ", column ", j + 1, ") and (row ", j + 1, ", column ", i + 1, ") are ",
                     a.values[p], " and ", value);
    }
  }
}

}  // namespace hesscope
