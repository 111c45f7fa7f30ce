// csr_matvec reads the matrix once for all K vectors, each vector at least once, and writes K*n
// elements. csr_lanczos_update reads the matrix once, v and v_prev twice, and writes v_prev twice.
// Memory bound; with random columns the reads of x decide.
#include <algorithm>
#include <cmath>

#include "bench.h"
#include "data.h"
#include "hesscope/lanczos.h"
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

template <typename T, typename U>
Tensor host_tensor(DType dtype, const std::vector<U>& values) {
  Tensor host({}, dtype, {static_cast<index_t>(values.size())});
  std::transform(values.begin(), values.end(), host.data<T>(),
                 [](U value) { return static_cast<T>(value); });
  return host;
}

/// One step of K recurrences in the middle of a run.
class StepProblem {
 public:
  StepProblem(const Suite& suite, const SparseMatrix& a, DType dtype, index_t rows, int num_sets)
      : suite_(suite),
        a_(a),
        rows_(rows),
        lanes_(csr_lanczos_lanes(rows)),
        host_v_(bench::random_tensor(dtype, {a.rows * lanes_}, 1)),
        host_v_prev_(bench::random_tensor(dtype, {a.rows * lanes_}, 2)),
        host_start_(host_tensor<std::int64_t>(DType::i64, a.row_start)),
        host_columns_(host_tensor<std::int32_t>(DType::i32, a.columns)),
        host_values_(dtype == DType::f32 ? host_tensor<float>(dtype, a.values)
                                         : host_tensor<double>(dtype, a.values)),
        host_state_({}, DType::f64, {rows, kLanczosStateSize}),
        workspace_(device(), csr_lanczos_update_workspace_bytes(rows, a.rows)),
        start_(to_device(suite.context(), host_start_, device())),
        columns_(to_device(suite.context(), host_columns_, device())),
        values_(to_device(suite.context(), host_values_, device())),
        v_(bench::device_sets(suite.context(), host_v_, num_sets)),
        v_prev_(bench::device_sets(suite.context(), host_v_prev_, num_sets)),
        alpha_(bench::poisoned(suite.context(), DType::f64, {rows})),
        beta_(bench::poisoned(suite.context(), DType::f64, {rows})) {
    for (index_t r = 0; r < rows; ++r) {
      double* row = host_state_.row<double>(r);
      row[kLanczosScale] = kScale;
      row[kLanczosScalePrev] = 1;
      row[kLanczosBetaPrev] = kCoupling;
      row[kLanczosLargest] = 1;
    }
    first_state_ = to_device(suite.context(), host_state_, device());
    state_ = to_device(suite.context(), host_state_, device());
  }

  double bytes() const {
    const auto size = static_cast<double>(size_of(host_v_.view().dtype));
    return static_cast<double>(a_.nnz()) * (size + 4) + static_cast<double>(a_.rows) * 8 +
           6 * size * static_cast<double>(a_.rows * lanes_);
  }

  /// The state starts anew, so that the scales stay what they are.
  void run(int set) {
    const Context ctx = suite_.context(workspace_.span());
    copy_bytes(ctx, device(), state_.view().data, device(), first_state_.view().data,
               rows_ * first_state_.view().stride[0] * size_of(DType::f64));
    csr_lanczos_update(ctx, start_, columns_, values_, interleaved(v_[set]),
                       interleaved(v_prev_[set]), state_, alpha_, beta_, kTolerance);
  }

  /// Sums in the dtype over a row, one rounding of r and one of next, float64 sums over rows.
  double error() {
    run(0);
    const Tensor next = to_device(suite_.reference(), host_v_prev_, {});
    const Tensor alpha({}, DType::f64, {rows_}), beta({}, DType::f64, {rows_});
    const Tensor state = to_device(suite_.reference(), host_state_, {});
    const Buffer scratch({}, workspace_.bytes());
    csr_lanczos_update(suite_.reference(scratch.span()), host_start_, host_columns_, host_values_,
                       interleaved(host_v_), interleaved(next), state, alpha, beta, kTolerance);
    const Context ctx = suite_.context();
    const double vectors =
        bench::worst_ratio(bench::to_host(ctx, v_prev_[0]), next, [&](index_t, index_t e) {
          return e % lanes_ < rows_ ? next_bound(e / lanes_, e % lanes_) : kTolerance;
        });
    const double first =
        bench::worst_ratio(bench::to_host(ctx, alpha_), alpha,
                           [&](index_t, index_t r) { return alpha_bound(r).error; });
    const double second = bench::worst_ratio(bench::to_host(ctx, beta_), beta,
                                             [&](index_t, index_t r) { return beta_bound(r); });
    return bench::worse(bench::worse(vectors, first), second);
  }

 private:
  static constexpr double kTolerance = 1e-12, kScale = 0.7, kCoupling = 0.5;

  /// |alpha| at most `size`, wrong by at most `error`.
  struct AlphaBound {
    double size = 0, error = 0;
  };

  Device device() const { return suite_.context().device; }
  /// [n * W] as [n, W].
  TensorView interleaved(const Tensor& vectors) const {
    TensorView view = vectors;
    view.ndim = 2;
    view.shape = {a_.rows, lanes_};
    view.stride = {lanes_, 1};
    return view;
  }
  double q(index_t i, index_t r) const {
    return kScale * std::abs(bench::element(host_v_, i * lanes_ + r));
  }
  double residual(index_t i, index_t r) const {
    double sum = kCoupling * std::abs(bench::element(host_v_prev_, i * lanes_ + r));
    for (index_t p = a_.row_start[i]; p < a_.row_start[i + 1]; ++p) {
      sum += std::abs(a_.values[p]) * q(a_.columns[p], r);
    }
    return sum;
  }
  double residual_bound(index_t i, index_t r) const {
    const auto terms = static_cast<double>(a_.row_start[i + 1] - a_.row_start[i] + 2);
    return terms * bench::epsilon(host_v_.view().dtype) * residual(i, r);
  }
  AlphaBound alpha_bound(index_t r) const {
    if (bounds_.empty()) {
      const double eps = static_cast<double>(a_.rows + 8) * bench::epsilon(DType::f64);
      for (index_t lane = 0; lane < rows_; ++lane) {
        AlphaBound bound;
        for (index_t i = 0; i < a_.rows; ++i) {
          bound.size += q(i, lane) * residual(i, lane);
          bound.error += q(i, lane) * residual_bound(i, lane);
        }
        bound.error += eps * bound.size;
        bounds_.push_back(bound);
      }
    }
    return bounds_[static_cast<std::size_t>(r)];
  }
  double next_bound(index_t i, index_t r) const {
    const AlphaBound alpha = alpha_bound(r);
    return residual_bound(i, r) + alpha.error * q(i, r) +
           2 * bench::epsilon(host_v_.view().dtype) * (residual(i, r) + alpha.size * q(i, r));
  }
  double beta_bound(index_t r) const {
    double squares = 0;
    for (index_t i = 0; i < a_.rows; ++i) squares += std::pow(next_bound(i, r), 2);
    return 2 * std::sqrt(squares);
  }

  const Suite& suite_;
  const SparseMatrix& a_;
  index_t rows_, lanes_;
  Tensor host_v_, host_v_prev_, host_start_, host_columns_, host_values_, host_state_;
  mutable std::vector<AlphaBound> bounds_;
  Buffer workspace_;
  Tensor start_, columns_, values_;
  std::vector<Tensor> v_, v_prev_;
  Tensor first_state_, state_, alpha_, beta_;
};

void run_step(Suite& suite, const std::string& kind, const SparseMatrix& a, DType dtype,
              index_t rows) {
  Case c{.op = "csr_lanczos_update",
         .label = {{"dtype", std::string(bench::name_of(dtype))},
                   {"matrix", kind},
                   {"K", std::to_string(rows)},
                   {"n", std::to_string(a.rows)},
                   {"nnz", std::to_string(a.nnz())}},
         .bytes = 0,
         .flops = static_cast<double>(rows) *
                  (2 * static_cast<double>(a.nnz()) + 15 * static_cast<double>(a.rows))};
  if (!suite.wants(c)) return;
  const int sets = suite.num_sets(static_cast<double>(2 * rows * a.cols * size_of(dtype)));
  StepProblem problem(suite, a, dtype, rows, sets);
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
      const index_t together = std::min<index_t>(s.rows, 8);
      run_step(suite, "random", random, dtype, together);
      run_step(suite, "band", band, dtype, together);
    }
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_sparse", "products and Lanczos steps of a sparse matrix",
                                   argc, argv, hesscope::run);
}
