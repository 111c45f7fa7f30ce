#pragma once

#include <cstdint>
#include <vector>

#include "hesscope/sparse_matrix.h"
#include "hesscope/view.h"

namespace hesscope::bench {

/// A random symmetric matrix: off the diagonal `per_row` entries a row on average, uniform in
/// [-1, 1) at uniform places. The same for the same seed. Needs n >= 2 and an even per_row >= 2.
SparseMatrix random_symmetric(index_t n, index_t per_row, std::uint64_t seed);

/// A symmetric band of `width` diagonals on each side of the main one.
SparseMatrix banded(index_t n, index_t width, std::uint64_t seed);

/// A spectrum like that of a network's Hessian, ascending: a fifth exact zeros, a bulk of both
/// signs that is densest at zero, in [-1, 1], and up to ten outliers above it, up to 4.
std::vector<double> network_spectrum(index_t n);

/// Entry i of the Walsh-Hadamard transform of a row on the host, from its definition, in O(n).
double walsh_entry(const TensorView& row, index_t i);

/// Entries worth looking at where all are too many: the first, the last, powers of two and their
/// neighbours, and some at random.
std::vector<index_t> sample_entries(index_t n);

}  // namespace hesscope::bench
