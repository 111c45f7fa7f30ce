// csr_matvec reads the matrix once for all K vectors, each vector at least once, and writes K*n
// elements. Memory bound; with random columns the reads of x decide.
#include <cmath>

#include "bench.h"
#include "data.h"
#include "hesscope/operator.h"
#include "hesscope/sparse.h"
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
  Problem(const Suite& suite, const SparseMatrix& a, DType dtype, index_t rows, int num_sets)
      : suite_(suite),
        a_(a),
        host_x_(bench::random_tensor(dtype, {rows, a.cols}, 1)),
        h_(suite.context(), a, dtype),
        oracle_(suite.reference(), a, dtype),
        workspace_(suite.context().device, h_.workspace_bytes(rows)),
        x_(bench::device_sets(suite.context(), host_x_, num_sets)),
        y_(bench::poisoned(suite.context(), dtype, {rows, a.rows})) {}

  double bytes() const { return h_.bytes(host_x_.view().shape[0]); }

  void run(int set) { h_.apply(suite_.context(workspace_.span()), x_[set], y_); }

  /// A row of p entries is a sum in its dtype: (p + 1) eps sum |a x|.
  double error() {
    run(0);
    const index_t rows = host_x_.view().shape[0];
    const Tensor want({}, host_x_.view().dtype, {rows, a_.rows});
    const Buffer scratch({}, oracle_.workspace_bytes(rows));
    oracle_.apply(suite_.reference(scratch.span()), host_x_, want);
    return bench::worst_ratio(
        bench::to_host(suite_.context(), y_), want, [&](index_t r, index_t i) {
          const TensorView x = select(host_x_, 0, r);
          double sum = 0;
          for (index_t p = a_.row_start[i]; p < a_.row_start[i + 1]; ++p) {
            sum += std::abs(a_.values[p] * bench::element(x, a_.columns[p]));
          }
          const auto terms = static_cast<double>(a_.row_start[i + 1] - a_.row_start[i] + 1);
          return terms * bench::epsilon(x.dtype) * sum;
        });
  }

 private:
  const Suite& suite_;
  const SparseMatrix& a_;
  Tensor host_x_;
  CsrOperator h_, oracle_;
  Buffer workspace_;
  std::vector<Tensor> x_;
  Tensor y_;
};

void run_case(Suite& suite, const std::string& kind, const SparseMatrix& a, DType dtype,
              index_t rows) {
  Case c{.op = "csr_matvec",
         .label = {{"dtype", std::string(bench::name_of(dtype))},
                   {"matrix", kind},
                   {"K", std::to_string(rows)},
                   {"n", std::to_string(a.rows)},
                   {"nnz", std::to_string(a.nnz())}},
         .bytes = 0,
         .flops = 2.0 * static_cast<double>(rows * a.nnz())};
  if (!suite.wants(c)) return;
  const int sets = suite.num_sets(static_cast<double>(rows * a.cols * size_of(dtype)));
  Problem problem(suite, a, dtype, rows, sets);
  c.bytes = problem.bytes();
  suite.verify(c, [&] { return problem.error(); });
  suite.time(c, sets, [&](int set) { problem.run(set); });
}

const std::vector<Sizes> kChecked = {{1, 2}, {2, 33}, {3, 1000}, {8, 1025}, {11, 5003}};
const std::vector<Sizes> kTimed = {{1, 1'000'000}, {8, 1'000'000}};

void run(Suite& suite) {
  for (const Sizes& s : suite.check() ? kChecked : kTimed) {
    const SparseMatrix random = bench::random_symmetric(s.n, 10, 1);
    const SparseMatrix band = bench::banded(s.n, 5, 2);
    for (const DType dtype : suite.dtypes()) {
      run_case(suite, "random", random, dtype, s.rows);
      run_case(suite, "band", band, dtype, s.rows);
    }
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_sparse", "products of a sparse matrix with K vectors",
                                   argc, argv, hesscope::run);
}
