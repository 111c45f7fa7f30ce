// walsh_hadamard reads and writes K*n elements at least once, and more than once where a row does
// not fit the cache: the percentage of copy bandwidth is of that least amount.
#include <cmath>

#include "bench.h"
#include "data.h"
#include "hesscope/hadamard.h"
#include "matrices.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::Suite;

struct Sizes {
  index_t rows, n;
};

class Problem {
 public:
  Problem(const Suite& suite, DType dtype, const Sizes& sizes, int num_sets)
      : suite_(suite),
        sizes_(sizes),
        host_x_(bench::random_tensor(dtype, {sizes.rows, sizes.n}, 1)),
        x_(bench::device_sets(suite.context(), host_x_, num_sets)) {}

  void run(int set) { walsh_hadamard(suite_.context(), x_[set], scale()); }

  /// Every output is a sum of n terms in log2(n) levels: (log2(n) + 2) eps scale sum |x|. Compared
  /// with the reference, which takes n^2 operations, and where that is too long at sampled entries.
  double error() {
    run(0);
    const Tensor got = bench::to_host(suite_.context(), x_[0]);
    const std::vector<double> bounds = row_bounds();
    if (sizes_.n > kReferenceSize) {
      double worst = 0;
      for (index_t r = 0; r < sizes_.rows; ++r) {
        const TensorView x = select(host_x_, 0, r), y = select(got, 0, r);
        for (const index_t i : bench::sample_entries(sizes_.n)) {
          const double error = std::abs(bench::element(y, i) - scale() * bench::walsh_entry(x, i));
          worst = bench::worse(worst, error / bounds[r]);
        }
      }
      return worst;
    }
    const Tensor want = to_device(suite_.reference(), host_x_, {});
    walsh_hadamard(suite_.reference(), want, scale());
    return bench::worst_ratio(got, want, [&](index_t r, index_t) { return bounds[r]; });
  }

 private:
  static constexpr index_t kReferenceSize = 1 << 12;

  std::vector<double> row_bounds() const {
    std::vector<double> bounds;
    bench::for_each_row(host_x_, [&](const TensorView& row) {
      double sum = 0;
      for (index_t i = 0; i < sizes_.n; ++i) sum += std::abs(bench::element(row, i));
      const double levels = std::log2(static_cast<double>(sizes_.n)) + 2;
      bounds.push_back(levels * bench::epsilon(row.dtype) * scale() * sum);
    });
    return bounds;
  }

  double scale() const { return 1 / std::sqrt(static_cast<double>(sizes_.n)); }

  const Suite& suite_;
  Sizes sizes_;
  Tensor host_x_;
  std::vector<Tensor> x_;
};

const std::vector<Sizes> kChecked = {{1, 1},   {3, 2},    {2, 4},       {3, 16},     {5, 32},
                                     {3, 256}, {2, 8192}, {1, 1 << 16}, {2, 1 << 18}};
const std::vector<Sizes> kTimed = {
    {1, 1 << 16}, {8, 1 << 16}, {1, 1 << 20}, {8, 1 << 20}, {1, 1 << 24}};

void run(Suite& suite) {
  for (const DType dtype : suite.dtypes()) {
    for (const Sizes& s : suite.check() ? kChecked : kTimed) {
      const auto elements = static_cast<double>(s.rows * s.n);
      const double bytes = 2 * elements * static_cast<double>(size_of(dtype));
      const Case c{.op = "walsh_hadamard",
                   .label = {{"dtype", std::string(bench::name_of(dtype))},
                             {"K", std::to_string(s.rows)},
                             {"n", std::to_string(s.n)}},
                   .bytes = bytes,
                   .flops = elements * std::log2(static_cast<double>(s.n))};
      if (!suite.wants(c)) continue;
      const int sets = suite.num_sets(bytes / 2);
      Problem problem(suite, dtype, s, sets);
      suite.verify(c, [&] { return problem.error(); });
      suite.time(c, sets, [&](int set) { problem.run(set); });
    }
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_hadamard", "Walsh-Hadamard transforms", argc, argv,
                                   hesscope::run);
}
