// extend_basis reads j rows of the basis and two vectors, and writes a row and a vector: memory
// bound where the rows do not fit in cache, with 6 j n flops.
#include <cmath>
#include <limits>

#include "bench.h"
#include "data.h"
#include "hesscope/extend_basis.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::Suite;

struct Sizes {
  index_t batch, j, n;
};

/// Bases [B, j + 1, n], vectors [B, n] and coefficients of size 1 / (j + 1), so that repeated calls
/// neither grow nor vanish.
class Extensions {
 public:
  Extensions(const Suite& suite, DType dtype, const Sizes& s, int num_sets)
      : suite_(suite),
        host_q_(bench::random_tensor(dtype, {s.batch, s.j + 1, s.n}, 1)),
        host_v_(bench::random_tensor(dtype, {s.batch, s.n}, 2)),
        host_w_(bench::random_tensor(dtype, {s.batch, s.n}, 3)),
        host_before_(bench::random_tensor(DType::f64, {s.batch, s.j + 1}, 4)),
        host_after_(bench::random_tensor(DType::f64, {s.batch, s.j + 2}, 5)),
        workspace_(suite.context().device, extend_basis_workspace_bytes(s.batch, s.j + 1, s.n)) {
    for (const Tensor* t : {&host_before_, &host_after_}) {
      bench::for_each_row(*t, [&](const TensorView& row) {
        for (index_t i = 0; i < row.shape[0]; ++i) {
          bench::set_element(row, i, bench::element(row, i) / static_cast<double>(s.j + 1));
        }
      });
    }
    q_ = bench::device_sets(suite.context(), host_q_, num_sets);
    v_ = bench::device_sets(suite.context(), host_v_, num_sets);
    w_ = bench::device_sets(suite.context(), host_w_, num_sets);
    before_ = bench::device_sets(suite.context(), host_before_, 1);
    after_ = bench::device_sets(suite.context(), host_after_, 1);
    const Tensor zeros = zero_sums(s);
    d_ = bench::device_sets(suite.context(), zeros, 1);
  }

  void run(int set) {
    extend_basis(suite_.context(workspace_.span()), q_[set], v_[set], w_[set], before_[0],
                 after_[0], d_[0]);
  }

  /// The worst of three ratios: one rounding of x and of r, and dot products in any order.
  double error(const Sizes& s) {
    run(0);
    const Tensor q = bench::to_host(suite_.context(), q_[0]);
    const Tensor r = bench::to_host(suite_.context(), v_[0]);
    const Tensor d = bench::to_host(suite_.context(), d_[0]);
    const Tensor want_q = to_device(suite_.reference(), host_q_, {});
    const Tensor want_r = to_device(suite_.reference(), host_v_, {});
    const Tensor want_d = zero_sums(s);
    Buffer scratch({}, workspace_.bytes());
    extend_basis(suite_.reference(scratch.span()), want_q, want_r, host_w_, host_before_,
                 host_after_, want_d);
    const double eps = bench::epsilon(host_v_.view().dtype);
    // An element is a sum of j + 2 terms, r of a rounded x as well.
    const double relative =
        2 * eps + 4 * static_cast<double>(s.j + 3) * std::numeric_limits<double>::epsilon();
    const double rows = bench::worst_ratio(
        select(q, 1, s.j), select(want_q, 1, s.j),
        [&](index_t b, index_t i) { return relative * size(want_q, host_v_, b, i, s.j); });
    const double vectors = bench::worst_ratio(r, want_r, [&](index_t b, index_t i) {
      return relative * size(want_q, host_w_, b, i, s.j + 1);
    });
    const double sums = bench::worst_ratio(d, want_d, [&](index_t b, index_t k) {
      const TensorView left = k <= s.j ? select(select(want_q, 0, b), 0, k) : select(want_r, 0, b);
      const TensorView right = select(want_r, 0, b);
      double sum = 0, moved = 0;  // r and q_j may have been rounded the other way
      for (index_t i = 0; i < s.n; ++i) {
        sum += std::abs(bench::element(left, i) * bench::element(right, i));
        moved += (std::abs(bench::element(left, i)) + std::abs(bench::element(right, i))) *
                 relative * size(want_q, host_w_, b, i, s.j + 1);
      }
      return 2 * static_cast<double>(s.n) * std::numeric_limits<double>::epsilon() * sum + moved;
    });
    return bench::worse(rows, bench::worse(vectors, sums));
  }

 private:
  static Tensor zero_sums(const Sizes& s) {
    Tensor sums({}, DType::f64, {s.batch, s.j + 2});
    bench::fill(sums, 0.0);
    return sums;
  }

  /// |vector_i| and the first `count` rows at i: coefficients are at most 8 / (j + 1).
  double size(const Tensor& q, const Tensor& vector, index_t b, index_t i, index_t count) const {
    double sum = std::abs(bench::element(select(vector, 0, b), i));
    for (index_t k = 0; k < count; ++k) {
      sum += std::abs(bench::element(select(select(q, 0, b), 0, k), i));
    }
    return 8 * sum / static_cast<double>(host_before_.view().shape[1]);
  }

  const Suite& suite_;
  Tensor host_q_, host_v_, host_w_, host_before_, host_after_;
  Buffer workspace_;
  std::vector<Tensor> q_, v_, w_, before_, after_, d_;
};

void run_case(Suite& suite, DType dtype, const Sizes& s) {
  const double element = static_cast<double>(s.batch * s.n * size_of(dtype));
  const Case c{.op = "extend_basis",
               .label = {{"dtype", std::string(bench::name_of(dtype))},
                         {"B", std::to_string(s.batch)},
                         {"j", std::to_string(s.j)},
                         {"n", std::to_string(s.n)}},
               .bytes = static_cast<double>(s.j + 4) * element,
               .flops = 6.0 * static_cast<double>(s.batch * s.j * s.n)};
  if (!suite.wants(c)) return;
  const int sets = suite.num_sets(c.bytes);
  Extensions problem(suite, dtype, s, sets);
  suite.verify(c, [&] { return problem.error(s); });
  suite.time(c, sets, [&](int set) { problem.run(set); });
}

const std::vector<Sizes> kChecked = {{1, 0, 1},    {3, 1, 31},   {2, 6, 65},
                                     {2, 8, 4097}, {1, 3, 8192}, {2, 33, 70001}};
const std::vector<Sizes> kTimed = {
    {1, 8, 1 << 20}, {1, 32, 1'000'064}, {4, 32, 1'000'064}, {1, 100, 1'000'064}};

void run(Suite& suite) {
  for (const DType dtype : suite.dtypes()) {
    for (const Sizes& sizes : suite.check() ? kChecked : kTimed) run_case(suite, dtype, sizes);
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_extend_basis",
                                   "a row more for a basis, and a projection on it", argc, argv,
                                   hesscope::run);
}
