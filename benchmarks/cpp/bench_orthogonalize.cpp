// multi_dot reads B*k*n elements of the basis and B*n of the vectors; multi_axpy writes the vectors
// as well. Memory bound for every k.
#include <cmath>
#include <limits>

#include "bench.h"
#include "data.h"
#include "hesscope/orthogonalize.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::Suite;

struct Sizes {
  index_t batch, k, n;
};

/// Bases [B, k, n] of one dtype and vectors [B, n] of another.
class Projections {
 public:
  Projections(const Suite& suite, DType storage, DType dtype, const Sizes& sizes, int num_sets)
      : suite_(suite),
        host_q_(bench::random_tensor(storage, {sizes.batch, sizes.k, sizes.n}, 1)),
        host_w_(bench::random_tensor(dtype, {sizes.batch, sizes.n}, 2)),
        host_c_(bench::random_tensor(DType::f64, {sizes.batch, sizes.k}, 3)),
        workspace_(suite.context().device,
                   multi_dot_workspace_bytes(sizes.batch, sizes.k, sizes.n)),
        q_(bench::device_sets(suite.context(), host_q_, num_sets)),
        w_(bench::device_sets(suite.context(), host_w_, num_sets)),
        c_(to_device(suite.context(), host_c_, suite.context().device)),
        out_(bench::poisoned(suite.context(), DType::f64, {sizes.batch, sizes.k})) {}

  void run_dot(int set) { multi_dot(suite_.context(workspace_.span()), q_[set], w_[set], out_); }
  void run_axpy(int set) { multi_axpy(suite_.context(), q_[set], c_, w_[set], kScale); }

  /// float64 sums in any order: 2 n eps sum |q_i w_i| (Higham 2002, section 3.1).
  double dot_error() {
    run_dot(0);
    const Tensor got = bench::to_host(suite_.context(), out_);
    const Tensor want({}, DType::f64, {host_c_.view().shape[0], host_c_.view().shape[1]});
    Buffer scratch({}, workspace_.bytes());
    multi_dot(suite_.reference(scratch.span()), host_q_, host_w_, want);
    const index_t n = host_w_.view().shape[1];
    return bench::worst_ratio(got, want, [&](index_t b, index_t j) {
      const TensorView q = select(select(host_q_, 0, b), 0, j), w = select(host_w_, 0, b);
      double sum = 0;
      for (index_t i = 0; i < n; ++i) sum += std::abs(bench::element(q, i) * bench::element(w, i));
      return 2 * static_cast<double>(n) * std::numeric_limits<double>::epsilon() * sum;
    });
  }

  /// One rounding to the dtype of w, and k + 2 operations in float64.
  double axpy_error() {
    run_axpy(0);
    const Tensor got = bench::to_host(suite_.context(), w_[0]);
    const Tensor want = to_device(suite_.reference(), host_w_, {});
    multi_axpy(suite_.reference(), host_q_, host_c_, want, kScale);
    const index_t k = host_c_.view().shape[1];
    const double relative = bench::epsilon(host_w_.view().dtype) +
                            2 * static_cast<double>(k + 2) * std::numeric_limits<double>::epsilon();
    return bench::worst_ratio(got, want, [&](index_t b, index_t i) {
      double largest = std::abs(bench::element(select(host_w_, 0, b), i));
      for (index_t j = 0; j < k; ++j) {
        largest += std::abs(kScale * bench::element(select(host_c_, 0, b), j) *
                            bench::element(select(select(host_q_, 0, b), 0, j), i));
      }
      return relative * largest;
    });
  }

 private:
  static constexpr double kScale = -0.5;

  const Suite& suite_;
  Tensor host_q_, host_w_, host_c_;
  Buffer workspace_;
  std::vector<Tensor> q_, w_;
  Tensor c_, out_;
};

void run_case(Suite& suite, DType storage, DType dtype, const Sizes& s) {
  const double basis = static_cast<double>(s.batch * s.k * s.n * size_of(storage));
  const double vectors = static_cast<double>(s.batch * s.n * size_of(dtype));
  Case dot{.op = "multi_dot",
           .label = {{"dtype", std::string(bench::name_of(dtype))},
                     {"q", std::string(bench::name_of(storage))},
                     {"B", std::to_string(s.batch)},
                     {"k", std::to_string(s.k)},
                     {"n", std::to_string(s.n)}},
           .bytes = basis + vectors,
           .flops = 2.0 * static_cast<double>(s.batch * s.k * s.n)};
  Case axpy = dot;
  axpy.op = "multi_axpy";
  axpy.bytes += vectors;
  if (!suite.wants(dot) && !suite.wants(axpy)) return;

  const int sets = suite.num_sets(basis + vectors);
  Projections problem(suite, storage, dtype, s, sets);
  if (suite.wants(dot)) {
    suite.verify(dot, [&] { return problem.dot_error(); });
    suite.time(dot, sets, [&](int set) { problem.run_dot(set); });
  }
  if (suite.wants(axpy)) {
    suite.verify(axpy, [&] { return problem.axpy_error(); });
    suite.time(axpy, sets, [&](int set) { problem.run_axpy(set); });
  }
}

const std::vector<Sizes> kChecked = {{1, 1, 1},    {3, 2, 31},    {3, 7, 33},   {2, 9, 4095},
                                     {2, 8, 4096}, {3, 33, 4097}, {1, 4, 70001}};
const std::vector<Sizes> kTimed = {
    {1, 8, 1 << 16}, {1, 32, 1 << 20}, {4, 8, 1 << 20}, {1, 8, 10'000'000}};

void run(Suite& suite) {
  for (const DType dtype : suite.dtypes()) {
    for (const DType storage : {dtype, DType::bf16}) {
      for (const Sizes& sizes : suite.check() ? kChecked : kTimed) {
        run_case(suite, storage, dtype, sizes);
      }
    }
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_orthogonalize", "projections on a basis", argc, argv,
                                   hesscope::run);
}
