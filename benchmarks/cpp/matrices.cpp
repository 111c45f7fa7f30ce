#include "matrices.h"

#include <algorithm>
#include <bit>
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

double walsh_entry(const TensorView& row, index_t i) {
  long double sum = 0;
  for (index_t j = 0; j < row.shape[0]; ++j) {
    const bool minus = std::popcount(static_cast<std::uint64_t>(i & j)) % 2 == 1;
    sum += minus ? -element(row, j) : element(row, j);
  }
  return static_cast<double>(sum);
}

std::vector<index_t> sample_entries(index_t n) {
  std::vector<index_t> entries = {0, n - 1};
  for (index_t power = 1; power < n; power *= 16) {
    entries.push_back(power);
    entries.push_back(power - 1);
  }
  Random random(n);
  for (int i = 0; i < 8; ++i) {
    entries.push_back(static_cast<index_t>(random.bits() % static_cast<std::uint64_t>(n)));
  }
  return entries;
}

}  // namespace hesscope::bench
