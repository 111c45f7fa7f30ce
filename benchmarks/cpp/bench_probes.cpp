// probes writes K*n elements, probe_dot reads K*n. Rademacher probes take one Philox block for 128
// elements and wait for memory; Gaussian ones take a block, a log and a sincos for two.
#include <cmath>
#include <limits>

#include "bench.h"
#include "data.h"
#include "hesscope/probes.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::Suite;

struct Sizes {
  index_t rows, n;
};

class Problem {
 public:
  Problem(const Suite& suite, ProbeKind kind, DType dtype, const Sizes& sizes, int num_sets)
      : suite_(suite),
        // Awkward on purpose: a shard that does not begin at a block of random numbers.
        spec_{.kind = kind, .seed = 0x123456789, .first_probe = 3, .first_index = 1'000'003},
        sizes_(sizes),
        host_w_(bench::random_tensor(dtype, {sizes.rows, sizes.n}, 1)),
        workspace_(suite.context().device, probe_dot_workspace_bytes(sizes.rows, sizes.n)),
        w_(bench::device_sets(suite.context(), host_w_, num_sets)),
        dots_(bench::poisoned(suite.context(), DType::f64, {sizes.rows})) {}

  void run_probes(int set) { probes(suite_.context(), spec_, w_[set]); }
  void run_dot(int set) { probe_dot(suite_.context(workspace_.span()), spec_, w_[set], dots_); }

  /// Rademacher probes are exact; Gaussian ones are promised within 4 ulp of float64 and a
  /// rounding.
  double probes_error() {
    run_probes(0);
    const Tensor want = reference_probes();
    const double relative =
        8 * std::numeric_limits<double>::epsilon() + bench::epsilon(want.view().dtype);
    return bench::worst_ratio(bench::to_host(suite_.context(), w_[0]), want,
                              [&](index_t r, index_t i) {
                                if (spec_.kind == ProbeKind::rademacher) return 0.0;
                                return relative * std::abs(bench::element(select(want, 0, r), i));
                              });
  }

  /// A float64 sum in any order, and the error of the probes.
  double dot_error() {
    copy(suite_.context(), host_w_, w_[0]);
    run_dot(0);
    const Tensor want({}, DType::f64, {sizes_.rows}), z = reference_probes();
    const Buffer scratch({}, workspace_.bytes());
    probe_dot(suite_.reference(scratch.span()), spec_, host_w_, want);
    return bench::worst_ratio(bench::to_host(suite_.context(), dots_), want,
                              [&](index_t, index_t r) {
                                const TensorView a = select(z, 0, r), b = select(host_w_, 0, r);
                                double sum = 0;
                                for (index_t i = 0; i < sizes_.n; ++i) {
                                  sum += std::abs(bench::element(a, i) * bench::element(b, i));
                                }
                                return 2 * static_cast<double>(sizes_.n + 4) *
                                       std::numeric_limits<double>::epsilon() * sum;
                              });
  }

 private:
  Tensor reference_probes() const {
    Tensor z({}, host_w_.view().dtype, {sizes_.rows, sizes_.n});
    probes(suite_.reference(), spec_, z);
    return z;
  }

  const Suite& suite_;
  ProbeSpec spec_;
  Sizes sizes_;
  Tensor host_w_;
  Buffer workspace_;
  std::vector<Tensor> w_;
  Tensor dots_;
};

void run_case(Suite& suite, ProbeKind kind, DType dtype, const Sizes& s) {
  const double bytes = static_cast<double>(s.rows * s.n * size_of(dtype));
  const Case draw{.op = "probes",
                  .label = {{"dtype", std::string(bench::name_of(dtype))},
                            {"kind", kind == ProbeKind::gaussian ? "gaussian" : "rademacher"},
                            {"K", std::to_string(s.rows)},
                            {"n", std::to_string(s.n)}},
                  .bytes = bytes,
                  .flops = 0};
  Case dot = draw;
  dot.op = "probe_dot";
  dot.flops = 2.0 * static_cast<double>(s.rows * s.n);
  if (!suite.wants(draw) && !suite.wants(dot)) return;

  const int sets = suite.num_sets(bytes);
  Problem problem(suite, kind, dtype, s, sets);
  if (suite.wants(draw)) {
    suite.verify(draw, [&] { return problem.probes_error(); });
    suite.time(draw, sets, [&](int set) { problem.run_probes(set); });
  }
  if (suite.wants(dot)) {
    suite.verify(dot, [&] { return problem.dot_error(); });
    suite.time(dot, sets, [&](int set) { problem.run_dot(set); });
  }
}

const std::vector<Sizes> kChecked = {{1, 1}, {2, 31}, {3, 127}, {1, 129}, {3, 4097}, {2, 70001}};
const std::vector<Sizes> kTimed = {{1, 1 << 16}, {8, 1 << 20}, {1, 10'000'000}};

void run(Suite& suite) {
  for (const DType dtype : suite.dtypes()) {
    for (const ProbeKind kind : {ProbeKind::rademacher, ProbeKind::gaussian}) {
      for (const Sizes& sizes : suite.check() ? kChecked : kTimed) {
        run_case(suite, kind, dtype, sizes);
      }
    }
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_probes", "random vectors and dot products with them",
                                   argc, argv, hesscope::run);
}
