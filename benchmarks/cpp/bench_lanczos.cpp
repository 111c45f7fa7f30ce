// lanczos_update reads w, v and v_prev twice and writes next: 7 n elements a row where next is
// v_prev, as here. Memory bound.
#include <cmath>
#include <limits>

#include "bench.h"
#include "data.h"
#include "hesscope/lanczos.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::element;
using bench::Suite;

struct Sizes {
  index_t rows, n;
};

/// K recurrences in the middle of a run; row 1 in its first step, row 2 frozen.
Tensor example_state(index_t rows, bool only_running) {
  Tensor state({}, DType::f64, {rows, kLanczosStateSize});
  for (index_t r = 0; r < rows; ++r) {
    double* row = state.row<double>(r);
    row[kLanczosScale] = !only_running && r == 2 ? 0 : 0.7;
    row[kLanczosScalePrev] = !only_running && r == 1 ? 0 : 0.9;
    row[kLanczosBetaPrev] = !only_running && r == 1 ? 0 : 0.5;
    row[kLanczosLargest] = 1;
  }
  return state;
}

class Problem {
 public:
  Problem(const Suite& suite, DType dtype, const Sizes& sizes, int num_sets)
      : suite_(suite),
        sizes_(sizes),
        host_w_(bench::random_tensor(dtype, {sizes.rows, sizes.n}, 1)),
        host_v_(bench::random_tensor(dtype, {sizes.rows, sizes.n}, 2)),
        host_v_prev_(bench::random_tensor(dtype, {sizes.rows, sizes.n}, 3)),
        host_state_(example_state(sizes.rows, !suite.check())),
        workspace_(device(), lanczos_update_workspace_bytes(sizes.rows, sizes.n)),
        w_(bench::device_sets(suite.context(), host_w_, num_sets)),
        v_(bench::device_sets(suite.context(), host_v_, num_sets)),
        v_prev_(bench::device_sets(suite.context(), host_v_prev_, num_sets)),
        first_state_(to_device(suite.context(), host_state_, device())),
        state_(to_device(suite.context(), host_state_, device())),
        alpha_(bench::poisoned(suite.context(), DType::f64, {sizes.rows})),
        beta_(bench::poisoned(suite.context(), DType::f64, {sizes.rows})) {}

  /// The state starts anew, so that vectors which are always the same never end the recurrence.
  void run(int set) {
    const Context ctx = suite_.context(workspace_.span());
    copy_bytes(ctx, device(), state_.view().data, device(), first_state_.view().data,
               sizes_.rows * first_state_.view().stride[0] * size_of(DType::f64));
    lanczos_update(ctx, w_[set], v_[set], v_prev_[set], v_prev_[set], state_, alpha_, beta_,
                   kTolerance);
  }

  double error() {
    run(0);
    const Tensor next({}, host_w_.view().dtype, {sizes_.rows, sizes_.n});
    const Tensor alpha({}, DType::f64, {sizes_.rows}), beta({}, DType::f64, {sizes_.rows});
    const Tensor state = to_device(suite_.reference(), host_state_, {});
    const Buffer scratch({}, workspace_.bytes());
    lanczos_update(suite_.reference(scratch.span()), host_w_, host_v_, host_v_prev_, next, state,
                   alpha, beta, kTolerance);
    const Context ctx = suite_.context();
    double worst =
        bench::worst_ratio(bench::to_host(ctx, v_prev_[0]), next,
                           [&](index_t r, index_t i) { return next_bound(r, i, alpha_bound(r)); });
    worst = bench::worse(
        worst, bench::worst_ratio(bench::to_host(ctx, alpha_), alpha,
                                  [&](index_t, index_t r) { return alpha_bound(r).error; }));
    return bench::worse(worst,
                        bench::worst_ratio(bench::to_host(ctx, beta_), beta,
                                           [&](index_t, index_t r) { return beta_bound(r); }));
  }

 private:
  static constexpr double kTolerance = 1e-12;
  static constexpr double kEps = std::numeric_limits<double>::epsilon();

  /// Sizes of the terms of a step: |alpha| at most `size`, wrong by at most `error`.
  struct AlphaBound {
    double size = 0, error = 0;
  };

  Device device() const { return suite_.context().device; }
  double state(index_t r, LanczosState column) const { return host_state_.row<double>(r)[column]; }
  double q(index_t r, index_t i) const {
    return std::abs(state(r, kLanczosScale) * element(select(host_v_, 0, r), i));
  }
  double residual(index_t r, index_t i) const {
    const double coupling = state(r, kLanczosBetaPrev) * state(r, kLanczosScalePrev);
    return std::abs(state(r, kLanczosScale) * element(select(host_w_, 0, r), i)) +
           std::abs(coupling * element(select(host_v_prev_, 0, r), i));
  }

  // The bounds of hesscope.testing.lanczos_bound: float64 sums in any order, and one rounding of
  // next to its dtype. Computed once a row.
  AlphaBound alpha_bound(index_t r) const {
    if (bounds_.empty()) {
      for (index_t row = 0; row < sizes_.rows; ++row) {
        double size = 0;
        for (index_t i = 0; i < sizes_.n; ++i) size += q(row, i) * residual(row, i);
        bounds_.push_back({size, static_cast<double>(sizes_.n + 8) * kEps * size});
      }
    }
    return bounds_[static_cast<std::size_t>(r)];
  }
  double next_bound(index_t r, index_t i, const AlphaBound& alpha) const {
    const double size = residual(r, i) + alpha.size * q(r, i);
    return (bench::epsilon(host_w_.view().dtype) + 8 * kEps) * size + alpha.error * q(r, i);
  }
  double beta_bound(index_t r) const {
    const AlphaBound alpha = alpha_bound(r);
    double errors = 0, sizes = 0;
    for (index_t i = 0; i < sizes_.n; ++i) {
      errors += std::pow(next_bound(r, i, alpha), 2);
      sizes += std::pow(residual(r, i) + alpha.size * q(r, i), 2);
    }
    return std::sqrt(errors) + static_cast<double>(sizes_.n + 4) * kEps * std::sqrt(sizes);
  }

  const Suite& suite_;
  Sizes sizes_;
  Tensor host_w_, host_v_, host_v_prev_, host_state_;
  mutable std::vector<AlphaBound> bounds_;
  Buffer workspace_;
  std::vector<Tensor> w_, v_, v_prev_;
  Tensor first_state_, state_, alpha_, beta_;
};

const std::vector<Sizes> kChecked = {{1, 1},    {3, 31},   {4, 33},   {3, 4095},
                                     {3, 4096}, {5, 4097}, {1, 70001}};
const std::vector<Sizes> kTimed = {
    {1, 1 << 16}, {8, 1 << 16}, {8, 1 << 20}, {1, 10'000'000}, {4, 10'000'000}};

void run(Suite& suite) {
  for (const DType dtype : suite.dtypes()) {
    for (const Sizes& s : suite.check() ? kChecked : kTimed) {
      const auto elements = static_cast<double>(s.rows * s.n);
      const auto size = static_cast<double>(size_of(dtype));
      const Case c{.op = "lanczos_update",
                   .label = {{"dtype", std::string(bench::name_of(dtype))},
                             {"K", std::to_string(s.rows)},
                             {"n", std::to_string(s.n)}},
                   .bytes = 7 * elements * size,
                   .flops = 15 * elements};
      if (!suite.wants(c)) continue;
      const int sets = suite.num_sets(3 * elements * size);
      Problem problem(suite, dtype, s, sets);
      suite.verify(c, [&] { return problem.error(); });
      suite.time(c, sets, [&](int set) { problem.run(set); });
    }
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_lanczos", "the fused three-term recurrence", argc, argv,
                                   hesscope::run);
}
