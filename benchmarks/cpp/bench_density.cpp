// B*G*m evaluations of exp or of the normal distribution function: limited by arithmetic.
#include <cmath>
#include <limits>
#include <numbers>

#include "bench.h"
#include "data.h"
#include "hesscope/density.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::element;
using bench::Suite;

using Op = void (*)(const Context&, const TensorView&, const TensorView&, const TensorView&, double,
                    const TensorView&);

struct Sizes {
  index_t batch, m, points;
};

constexpr double kSigma = 0.05;

class Problem {
 public:
  Problem(const Suite& suite, const Sizes& sizes)
      : suite_(suite),
        sizes_(sizes),
        host_nodes_(bench::random_tensor(DType::f64, {sizes.batch, sizes.m}, 1)),
        host_weights_(bench::random_tensor(DType::f64, {sizes.batch, sizes.m}, 2)),
        host_grid_(bench::random_tensor(DType::f64, {sizes.points}, 3)),
        nodes_(to_device(suite.context(), host_nodes_, suite.context().device)),
        weights_(to_device(suite.context(), host_weights_, suite.context().device)),
        grid_(to_device(suite.context(), host_grid_, suite.context().device)),
        out_(bench::poisoned(suite.context(), DType::f64, {sizes.batch, sizes.points})) {}

  void run(Op op) { op(suite_.context(), nodes_, weights_, grid_, kSigma, out_); }

  /// exp and the distribution function within a few ulp of an argument z that is wrong by 2 eps:
  /// (3 z^2 + 8) eps a term of the density, (3 z^2 + 16) eps of a term not above 1 for the cdf; and
  /// a sum of m terms.
  double error(Op op, bool density) {
    run(op);
    const Tensor want({}, DType::f64, {sizes_.batch, sizes_.points});
    op(suite_.reference(), host_nodes_, host_weights_, host_grid_, kSigma, want);
    return bench::worst_ratio(
        bench::to_host(suite_.context(), out_), want, [&](index_t b, index_t g) {
          double sum = 0;
          for (index_t j = 0; j < sizes_.m; ++j) {
            const double z =
                (element(host_grid_, g) - element(select(host_nodes_, 0, b), j)) / kSigma;
            const double gauss = std::exp(-z * z / 2) / (kSigma * std::sqrt(2 * std::numbers::pi));
            const auto terms = static_cast<double>(sizes_.m);
            const double term = density ? gauss * (3 * z * z + 8 + terms)
                                        : 3 * z * z * std::exp(-z * z / 2) + 16 + terms;
            sum += std::abs(element(select(host_weights_, 0, b), j)) * term;
          }
          return std::numeric_limits<double>::epsilon() * sum + kUnderflow;
        });
  }

 private:
  static constexpr double kUnderflow = 1e-300;  // terms below may be flushed to zero

  const Suite& suite_;
  Sizes sizes_;
  Tensor host_nodes_, host_weights_, host_grid_, nodes_, weights_, grid_, out_;
};

const std::vector<Sizes> kChecked = {{1, 1, 1}, {3, 7, 33}, {2, 40, 257}, {5, 100, 31}};
const std::vector<Sizes> kTimed = {{4, 100, 1000}, {64, 100, 2000}};

void run(Suite& suite) {
  for (const Sizes& s : suite.check() ? kChecked : kTimed) {
    for (const bool density : {true, false}) {
      const Op op = density ? smoothed_density : smoothed_cdf;
      const Case c{.op = density ? "smoothed_density" : "smoothed_cdf",
                   .label = {{"B", std::to_string(s.batch)},
                             {"m", std::to_string(s.m)},
                             {"G", std::to_string(s.points)}},
                   .bytes = 0,
                   .flops = 0};
      if (!suite.wants(c)) continue;
      Problem problem(suite, s);
      suite.verify(c, [&] { return problem.error(op, density); });
      suite.time(c, 1, [&](int) { problem.run(op); });
    }
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_density", "smoothed densities of quadratures", argc, argv,
                                   hesscope::run);
}
