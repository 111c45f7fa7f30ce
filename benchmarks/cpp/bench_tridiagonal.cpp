// Small matrices, float64: neither op waits for memory. Timed sizes are verified on their leading
// part, since the reference diagonalises dense matrices.
#include <algorithm>
#include <cmath>
#include <limits>

#include "bench.h"
#include "data.h"
#include "hesscope/tridiagonal.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::element;
using bench::Suite;

struct Sizes {
  index_t batch, m;
};

constexpr index_t kPoints = 1000;
constexpr index_t kReferenceOrder = 40;
constexpr double kEps = std::numeric_limits<double>::epsilon();

/// Nodes, and first and last components, [B, m] each.
struct Eigen {
  Tensor nodes, first, last;
};

class Problem {
 public:
  Problem(const Suite& suite, const Sizes& sizes)
      : suite_(suite),
        sizes_(sizes),
        host_alpha_(bench::random_tensor(DType::f64, {sizes.batch, sizes.m}, 1)),
        host_beta_(bench::random_tensor(DType::f64, {sizes.batch, sizes.m}, 2)),
        host_x_(bench::random_tensor(DType::f64, {kPoints}, 3)),
        workspace_(device(), tridiagonal_eigen_workspace_bytes(sizes.batch, sizes.m)),
        alpha_(to_device(suite.context(), host_alpha_, device())),
        beta_(to_device(suite.context(), host_beta_, device())),
        x_(to_device(suite.context(), host_x_, device())),
        eigen_(make_eigen(suite.context(), sizes.m)),
        counts_(bench::poisoned(suite.context(), DType::i64, {sizes.batch, kPoints})) {
    // Couplings of a Lanczos run are positive; one in the middle of the last matrix ends it early.
    bench::for_each_row(host_beta_, [&](const TensorView& row) {
      for (index_t j = 0; j < sizes_.m; ++j) {
        bench::set_element(row, j, 0.1 + std::abs(element(row, j)));
      }
    });
    if (suite.check() && sizes.batch > 1) host_beta_.row<double>(sizes.batch - 1)[sizes.m / 2] = 0;
    copy(suite.context(), host_beta_, beta_);
  }

  void run_eigen() { run_eigen(suite_.context(), alpha_, beta_, eigen_, workspace_); }
  void run_counts() { sturm_count(suite_.context(), alpha_, beta_, x_, counts_); }

  /// Nodes within m eps ||T|| (at least 8), which turns a unit eigenvector by that over the gap
  /// (Davis and Kahan 1970); compared by the weights, first and last components squared.
  double eigen_error() {
    const index_t m = std::min(sizes_.m, kReferenceOrder);
    const Tensor alpha = leading(host_alpha_, m), beta = leading(host_beta_, m);
    const Eigen got_device = make_eigen(suite_.context(), m),
                want = make_eigen(suite_.reference(), m);
    run_eigen(suite_.context(), to_device(suite_.context(), alpha, device()),
              to_device(suite_.context(), beta, device()), got_device, workspace_);
    const Buffer scratch({}, workspace_.bytes());
    run_eigen(suite_.reference(), alpha, beta, want, scratch);

    const double bound = 2 * static_cast<double>(std::max<index_t>(m, 8)) * kEps * kNorm;
    const auto at = [&](index_t b, index_t j) { return want.nodes.row<double>(b)[j]; };
    const auto turn = [&](index_t b, index_t j) {
      double gap = kNorm;
      for (index_t i = 0; i < m; ++i) {
        if (at(b, i) != at(b, j)) gap = std::min(gap, std::abs(at(b, i) - at(b, j)));
      }
      return 2 * bound / std::max(gap, bound) + 8 * kEps;
    };
    const Context ctx = suite_.context();
    double worst = bench::worst_ratio(bench::to_host(ctx, got_device.nodes), want.nodes,
                                      [&](index_t, index_t) { return bound; });
    worst = bench::worse(
        worst, bench::worst_ratio(bench::to_host(ctx, got_device.first), want.first, turn));
    // The sign of `first` is not certain where it is within the error of 0, nor then that of
    // `last`.
    const auto last_bound = [&](index_t b, index_t j) {
      const bool sign_unknown = want.first.row<double>(b)[j] <= turn(b, j);
      return sign_unknown ? 2.0 : turn(b, j);
    };
    return bench::worse(
        worst, bench::worst_ratio(bench::to_host(ctx, got_device.last), want.last, last_bound));
  }

  /// Counts are exact except for points within rounding of an eigenvalue, which random ones are
  /// not.
  double counts_error() {
    run_counts();
    const Tensor want({}, DType::i64, {sizes_.batch, kPoints});
    sturm_count(suite_.reference(), host_alpha_, host_beta_, host_x_, want);
    return bench::worst_ratio(bench::to_host(suite_.context(), counts_), want,
                              [](index_t, index_t) { return 0.0; });
  }

 private:
  static constexpr double kNorm = 1 + 2 * 1.1;  // |alpha| <= 1, 0.1 <= beta <= 1.1

  Device device() const { return suite_.context().device; }

  Eigen make_eigen(const Context& ctx, index_t m) const {
    return {.nodes = bench::poisoned(ctx, DType::f64, {sizes_.batch, m}),
            .first = bench::poisoned(ctx, DType::f64, {sizes_.batch, m}),
            .last = bench::poisoned(ctx, DType::f64, {sizes_.batch, m})};
  }

  Tensor leading(const Tensor& t, index_t m) const {
    return to_device(suite_.reference(), narrow(t, 1, 0, m), {});
  }

  static void run_eigen(Context ctx, const Tensor& alpha, const Tensor& beta, const Eigen& eigen,
                        const Buffer& workspace) {
    ctx.workspace = workspace.span();
    tridiagonal_eigen(ctx, alpha, beta, eigen.nodes, eigen.first, eigen.last);
  }

  const Suite& suite_;
  Sizes sizes_;
  Tensor host_alpha_, host_beta_, host_x_;
  Buffer workspace_;
  Tensor alpha_, beta_, x_;
  Eigen eigen_;
  Tensor counts_;
};

const std::vector<Sizes> kChecked = {{1, 1}, {2, 2}, {3, 7}, {5, 33}, {9, 40}};
const std::vector<Sizes> kTimed = {{8, 50}, {8, 100}, {64, 100}, {8, 500}};

void run(Suite& suite) {
  for (const Sizes& s : suite.check() ? kChecked : kTimed) {
    const Case eigen{.op = "tridiagonal_eigen",
                     .label = {{"B", std::to_string(s.batch)}, {"m", std::to_string(s.m)}},
                     .bytes = 0,
                     .flops = 0};
    Case counts = eigen;
    counts.op = "sturm_count";
    counts.label.emplace_back("P", std::to_string(kPoints));
    if (!suite.wants(eigen) && !suite.wants(counts)) continue;

    Problem problem(suite, s);
    if (suite.wants(eigen)) {
      suite.verify(eigen, [&] { return problem.eigen_error(); });
      suite.time(eigen, 1, [&](int) { problem.run_eigen(); });
    }
    if (suite.wants(counts)) {
      suite.verify(counts, [&] { return problem.counts_error(); });
      suite.time(counts, 1, [&](int) { problem.run_counts(); });
    }
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_tridiagonal",
                                   "nodes, weights and Sturm counts of tridiagonal matrices", argc,
                                   argv, hesscope::run);
}
