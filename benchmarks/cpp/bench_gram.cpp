// gram reads (k + b) n elements and does 2 k b n flops, half of them where both operands are one:
// it waits for memory below a dozen rows and for arithmetic above.
#include <cmath>
#include <limits>

#include "bench.h"
#include "data.h"
#include "hesscope/gram.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::Suite;

struct Sizes {
  index_t k, b, n;  // b == 0: q with itself
};

/// Rows [k, n] and [b, n] of one dtype.
class InnerProducts {
 public:
  InnerProducts(const Suite& suite, DType storage, const Sizes& s, int num_sets)
      : suite_(suite),
        self_(s.b == 0),
        cols_(self_ ? s.k : s.b),
        host_q_(bench::random_tensor(storage, {s.k, s.n}, 1)),
        host_w_(bench::random_tensor(storage, {cols_, s.n}, 2)),
        workspace_(suite.context().device, gram_workspace_bytes(s.k, cols_, s.n)),
        q_(bench::device_sets(suite.context(), host_q_, num_sets)),
        w_(bench::device_sets(suite.context(), host_w_, num_sets)),
        out_(bench::poisoned(suite.context(), DType::f64, {s.k, cols_})) {}

  void run(int set) {
    gram(suite_.context(workspace_.span()), q_[set], self_ ? q_[set] : w_[set], out_);
  }

  /// float64 sums in any order: 2 n eps sum |q_c w_c| (Higham 2002, section 3.1).
  double error() {
    run(0);
    const Tensor got = bench::to_host(suite_.context(), out_);
    const TensorView q = host_q_, w = self_ ? host_q_ : host_w_;
    const Tensor want({}, DType::f64, {q.shape[0], cols_});
    Buffer scratch({}, workspace_.bytes());
    gram(suite_.reference(scratch.span()), q, w, want);
    const index_t n = q.shape[1];
    return bench::worst_ratio(got, want, [&](index_t i, index_t j) {
      const TensorView x = select(q, 0, i), y = select(w, 0, j);
      double sum = 0;
      for (index_t c = 0; c < n; ++c) sum += std::abs(bench::element(x, c) * bench::element(y, c));
      return 2 * static_cast<double>(n) * std::numeric_limits<double>::epsilon() * sum;
    });
  }

 private:
  const Suite& suite_;
  bool self_;
  index_t cols_;
  Tensor host_q_, host_w_;
  Buffer workspace_;
  std::vector<Tensor> q_, w_;
  Tensor out_;
};

void run_case(Suite& suite, DType storage, const Sizes& s) {
  const double rows = static_cast<double>(s.k + s.b);
  const double entries =
      static_cast<double>(s.b == 0 ? s.k * (s.k + 1) / 2 : s.k * s.b);  // computed, not copied
  const Case c{.op = "gram",
               .label = {{"dtype", std::string(bench::name_of(storage))},
                         {"k", std::to_string(s.k)},
                         {"b", s.b == 0 ? "self" : std::to_string(s.b)},
                         {"n", std::to_string(s.n)}},
               .bytes = rows * static_cast<double>(s.n * size_of(storage)),
               .flops = 2.0 * entries * static_cast<double>(s.n)};
  if (!suite.wants(c)) return;
  const int sets = suite.num_sets(c.bytes);
  InnerProducts problem(suite, storage, s, sets);
  suite.verify(c, [&] { return problem.error(); });
  suite.time(c, sets, [&](int set) { problem.run(set); });
}

const std::vector<Sizes> kChecked = {{1, 1, 1},    {3, 0, 31},   {7, 2, 511},
                                     {9, 0, 4097}, {5, 6, 8192}, {4, 3, 70001}};
const std::vector<Sizes> kTimed = {
    {8, 0, 1 << 20}, {32, 1, 1 << 20}, {32, 8, 1 << 20}, {64, 0, 1 << 20}};

void run(Suite& suite) {
  std::vector<DType> storages = suite.dtypes();
  storages.push_back(DType::bf16);
  for (const DType storage : storages) {
    for (const Sizes& sizes : suite.check() ? kChecked : kTimed) run_case(suite, storage, sizes);
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_gram", "inner products of two sets of vectors", argc,
                                   argv, hesscope::run);
}
