// gemm does 2 B m n k operations: limited by arithmetic, except where a matrix is thin. The rate is
// in the JSON (gflop_per_s); a script among the Python benchmarks compares it with another
// library's.
#include <algorithm>
#include <cmath>

#include "bench.h"
#include "data.h"
#include "hesscope/gemm.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::element;
using bench::Suite;

struct Sizes {
  index_t batch, m, n, k;
  bool transposed;  // x is the transpose of a matrix [n, k]
};

TensorView transposed(TensorView t) {
  std::swap(t.shape[1], t.shape[2]);
  std::swap(t.stride[1], t.stride[2]);
  return t;
}

class Problem {
 public:
  Problem(const Suite& suite, DType dtype, const Sizes& s, int num_sets)
      : suite_(suite),
        sizes_(s),
        host_a_(bench::random_tensor(dtype, {s.batch, s.m, s.k}, 1)),
        host_x_(s.transposed ? bench::random_tensor(dtype, {s.batch, s.n, s.k}, 2)
                             : bench::random_tensor(dtype, {s.batch, s.k, s.n}, 2)),
        workspace_(suite.context().device, gemm_workspace_bytes(s.m, s.n, s.k, dtype)),
        a_(bench::device_sets(suite.context(), host_a_, num_sets)),
        x_(bench::device_sets(suite.context(), host_x_, num_sets)),
        c_(bench::poisoned(suite.context(), dtype, {s.batch, s.m, s.n})) {}

  void run(int set) {
    gemm(suite_.context(workspace_.span()), 1.0, a_[set], right(x_[set]), 0.0, c_);
  }

  /// k products and sums in any order: (k + 3) eps sum |a x| (Higham 2002, section 3.5).
  double error() {
    run(0);
    const Tensor got = bench::to_host(suite_.context(), c_);
    const Tensor want({}, host_a_.view().dtype, {sizes_.batch, sizes_.m, sizes_.n});
    Buffer scratch({}, workspace_.bytes());
    gemm(suite_.reference(scratch.span()), 1.0, host_a_, right(host_x_), 0.0, want);
    double worst = 0;
    for (index_t b = 0; b < sizes_.batch; ++b) {
      const TensorView a = select(host_a_, 0, b), x = transposed_matrix(select(host_x_, 0, b));
      worst = bench::worse(
          worst, bench::worst_ratio(select(got, 0, b), select(want, 0, b),
                                    [&](index_t i, index_t j) { return bound(a, x, i, j); }));
    }
    return worst;
  }

 private:
  TensorView right(const TensorView& x) const { return sizes_.transposed ? transposed(x) : x; }

  /// Rows are the columns of x.
  TensorView transposed_matrix(TensorView x) const {
    if (!sizes_.transposed) {
      std::swap(x.shape[0], x.shape[1]);
      std::swap(x.stride[0], x.stride[1]);
    }
    return x;
  }

  double bound(const TensorView& a, const TensorView& x, index_t i, index_t j) const {
    const TensorView row = select(a, 0, i), column = select(x, 0, j);
    double sum = 0;
    for (index_t p = 0; p < sizes_.k; ++p) sum += std::abs(element(row, p) * element(column, p));
    return static_cast<double>(sizes_.k + 3) * bench::epsilon(a.dtype) * sum;
  }

  const Suite& suite_;
  Sizes sizes_;
  Tensor host_a_, host_x_;
  Buffer workspace_;
  std::vector<Tensor> a_, x_;
  Tensor c_;
};

void run_case(Suite& suite, DType dtype, const Sizes& s) {
  const double elements = static_cast<double>(s.batch * (s.m * s.k + s.k * s.n + s.m * s.n));
  const Case c{.op = "gemm",
               .label = {{"dtype", std::string(bench::name_of(dtype))},
                         {"x", s.transposed ? "transposed" : "rows"},
                         {"B", std::to_string(s.batch)},
                         {"m", std::to_string(s.m)},
                         {"n", std::to_string(s.n)},
                         {"k", std::to_string(s.k)}},
               .bytes = 0,
               .flops = 2.0 * static_cast<double>(s.batch * s.m * s.n * s.k)};
  if (!suite.wants(c)) return;
  const int sets = std::min(suite.num_sets(elements * static_cast<double>(size_of(dtype))), 4);
  Problem problem(suite, dtype, s, sets);
  suite.verify(c, [&] { return problem.error(); });
  suite.time(c, sets, [&](int set) { problem.run(set); });
  if (!suite.check()) suite.note("rate", c.flops / suite.median() * 1e-9, "GFLOP/s");
}

const std::vector<Sizes> kChecked = {{1, 1, 1, 1, false},    {3, 13, 33, 17, true},
                                     {2, 65, 64, 300, true}, {1, 97, 530, 64, false},
                                     {2, 12, 32, 16, false}, {1, 8, 4100, 3, false}};
const std::vector<Sizes> kTimed = {{8, 32, 32, 32, true},
                                   {8, 64, 64, 64, true},
                                   {1, 256, 256, 256, false},
                                   {1, 512, 512, 512, false},
                                   {1, 512, 512, 512, true}};

void run(Suite& suite) {
  for (const DType dtype : suite.dtypes()) {
    for (const Sizes& sizes : suite.check() ? kChecked : kTimed) run_case(suite, dtype, sizes);
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_gemm", "products of dense matrices", argc, argv,
                                   hesscope::run);
}
