// About k^3 operations a row and contraction: limited by arithmetic, the tensor stays in the
// caches.
#include <cmath>
#include <limits>

#include "bench.h"
#include "data.h"
#include "hesscope/contract3.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::element;
using bench::Suite;

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();

struct Sizes {
  index_t batch, k;
};

class Problem {
 public:
  Problem(const Suite& suite, const Sizes& s)
      : suite_(suite),
        sizes_(s),
        host_t_(bench::random_tensor(DType::f64, {packed_tensor_size(s.k)}, 1)),
        host_u_(bench::random_tensor(DType::f64, {s.batch, s.k}, 2)),
        host_v_(bench::random_tensor(DType::f64, {s.batch, s.k}, 3)),
        t_(on_device(host_t_)),
        u_(on_device(host_u_)),
        v_(on_device(host_v_)),
        out_(bench::poisoned(suite.context(), DType::f64, {s.batch, s.k})),
        value_(bench::poisoned(suite.context(), DType::f64, {s.batch})),
        residual_(bench::poisoned(suite.context(), DType::f64, {s.batch})) {}

  void run_vector() { contract3(suite_.context(), t_, u_, v_, out_); }
  void run_scalar() { contract3_scalar(suite_.context(), t_, u_, v_, u_, value_); }
  void run_power(index_t steps) {
    higher_order_power(suite_.context(), t_, u_, shift(), steps, value_, residual_);
  }

  /// All entries of t, u and v are at most 1: k^2 terms, each a few roundings.
  double vector_error() {
    run_vector();
    const Tensor want({}, DType::f64, {sizes_.batch, sizes_.k});
    contract3(suite_.reference(), host_t_, host_u_, host_v_, want);
    return bench::worst_ratio(bench::to_host(suite_.context(), out_), want,
                              [&](index_t, index_t) { return bound(); });
  }

  double scalar_error() {
    run_scalar();
    const Tensor want({}, DType::f64, {sizes_.batch});
    contract3_scalar(suite_.reference(), host_t_, host_u_, host_v_, host_u_, want);
    const double terms = static_cast<double>(2 * sizes_.k);
    return bench::worst_ratio(bench::to_host(suite_.context(), value_), want,
                              [&](index_t, index_t) { return terms * bound(); });
  }

  /// One step: the shift keeps |y| above ||T||, so that errors of the image are not magnified.
  double power_error() {
    run_power(1);
    const Tensor x = to_device(suite_.reference(), host_u_, {});
    const Tensor value({}, DType::f64, {sizes_.batch}), residual({}, DType::f64, {sizes_.batch});
    higher_order_power(suite_.reference(), host_t_, x, shift(), 1, value, residual);
    const auto slack = [&](index_t, index_t) { return 8 * bound(); };
    const double rows = bench::worst_ratio(bench::to_host(suite_.context(), u_), x, slack);
    const double values =
        bench::worst_ratio(bench::to_host(suite_.context(), value_), value, slack);
    return bench::worse(rows, values);
  }

 private:
  Tensor on_device(const TensorView& host) const {
    return to_device(suite_.context(), host, suite_.context().device);
  }

  double bound() const {
    const auto k = static_cast<double>(sizes_.k);
    return (2 * k * k + 8) * kEpsilon * k * k;
  }

  double shift() const {
    double square = 0;
    for (index_t i = 0; i < host_t_.view().shape[0]; ++i) {
      square += 6 * element(host_t_, i) * element(host_t_, i);
    }
    return 2 * std::sqrt(square);
  }

  const Suite& suite_;
  Sizes sizes_;
  Tensor host_t_, host_u_, host_v_, t_, u_, v_, out_, value_, residual_;
};

void run_case(Suite& suite, const Sizes& s) {
  constexpr index_t kSteps = 20;
  const auto make = [&](const char* op, double contractions) {
    const double entries = static_cast<double>(s.batch * packed_tensor_size(s.k));
    return Case{.op = op,
                .label = {{"B", std::to_string(s.batch)}, {"k", std::to_string(s.k)}},
                .bytes = 0,
                .flops = 6 * contractions * entries};
  };
  const Case whole = make("contract3", 1), scalar = make("contract3_scalar", 1),
             power = make("higher_order_power", kSteps + 1);
  Problem problem(suite, s);
  if (suite.wants(whole)) {
    suite.verify(whole, [&] { return problem.vector_error(); });
    suite.time(whole, 1, [&](int) { problem.run_vector(); });
  }
  if (suite.wants(scalar)) {
    suite.verify(scalar, [&] { return problem.scalar_error(); });
    suite.time(scalar, 1, [&](int) { problem.run_scalar(); });
  }
  if (suite.wants(power)) {
    suite.verify(power, [&] { return problem.power_error(); });
    suite.time(power, 1, [&](int) { problem.run_power(kSteps); });
  }
}

const std::vector<Sizes> kChecked = {{1, 1}, {3, 2}, {8, 7}, {9, 33}, {17, 64}};
const std::vector<Sizes> kTimed = {{8, 16}, {64, 16}, {8, 64}, {64, 64}};

void run(Suite& suite) {
  for (const Sizes& sizes : suite.check() ? kChecked : kTimed) run_case(suite, sizes);
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_contract3", "contractions of small symmetric tensors",
                                   argc, argv, hesscope::run);
}
