#include "matrices.h"

#include <algorithm>
#include <cmath>

#include "data.h"

namespace hesscope::bench {

SparseMatrix random_symmetric(index_t n, index_t per_row, std::uint64_t seed) {
  Random random(seed);
  std::vector<Entry> entries;
  entries.reserve(static_cast<std::size_t>(n * per_row));
  for (index_t i = 0; i < n; ++i) {
    for (index_t e = 0; e < per_row / 2; ++e) {
      // Any column but i: the bias of the remainder is n / 2^64.
      const auto step = static_cast<index_t>(random.bits() % static_cast<std::uint64_t>(n - 1));
      const index_t j = (i + 1 + step) % n;
      const double value = random.uniform();
      entries.push_back({i, j, value});
      entries.push_back({j, i, value});
    }
  }
  return from_entries(n, n, entries);
}

SparseMatrix banded(index_t n, index_t width, std::uint64_t seed) {
  Random random(seed);
  std::vector<Entry> entries;
  for (index_t i = 0; i < n; ++i) {
    entries.push_back({i, i, random.uniform()});
    for (index_t j = i + 1; j <= std::min(i + width, n - 1); ++j) {
      const double value = random.uniform();
      entries.push_back({i, j, value});
      entries.push_back({j, i, value});
    }
  }
  return from_entries(n, n, entries);
}

std::vector<double> network_spectrum(index_t n) {
  const index_t outliers = std::min<index_t>(10, n / 8), zeros = n / 5;
  const index_t bulk = n - outliers - zeros;
  std::vector<double> values(static_cast<std::size_t>(n), 0.0);
  for (index_t i = 0; i < bulk; ++i) {
    const double u = (2 * static_cast<double>(i) + 1) / static_cast<double>(bulk) - 1;
    values[i] = u * u * u;
  }
  for (index_t i = 0; i < outliers; ++i) {
    values[n - 1 - i] = 4 - 2.5 * static_cast<double>(i) / static_cast<double>(outliers);
  }
  std::sort(values.begin(), values.end());
  return values;
}

}  // namespace hesscope::bench
