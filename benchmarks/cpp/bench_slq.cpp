// Stochastic Lanczos quadrature, whole: probes, products, recurrence, nodes and weights.
//
// A step without reorthogonalisation moves what a product moves and 7 n elements a probe.
#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "bench.h"
#include "data.h"
#include "hesscope/json.h"
#include "hesscope/quadrature.h"
#include "matrices.h"
#include "slq_check.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::SlqCheck;
using bench::Suite;

constexpr index_t kReferenceSize = 1 << 11;  // its Walsh-Hadamard transform takes n^2 operations

struct Settings {
  index_t n = 1 << 20;
  std::string matrix;                        // a file, or empty
  index_t random_n = 0, random_per_row = 0;  // 0: no random matrix
  LanczosOptions lanczos = {.num_probes = 1};
};

/// A problem and what is known about it.
struct Problem {
  std::string name;
  const BoundedOperator& h;
  const BoundedOperator*
      oracle;  // float64, on the reference backend; null where that takes too long
  double trace;
  const std::vector<double>* eigenvalues = nullptr;  // ascending
  const PrescribedSpectrumOperator* prescribed = nullptr;
};

double bytes_of_run(const BoundedOperator& h, const LanczosOptions& options) {
  const auto steps = static_cast<double>(std::min(options.num_steps, h.size()));
  const auto vectors = static_cast<double>(options.num_probes * h.size() * size_of(h.dtype()));
  double moved = 2 * vectors + steps * (h.bytes(options.num_probes) + 7 * vectors);
  if (options.reorthogonalize == Reorthogonalize::full) {
    // Two passes read the basis twice each; next is read for each dot, read and written for each
    // combination, and its norm taken. And next is not v_prev.
    moved += vectors * (2 * steps * (steps + 1) + 8 * steps);
  }
  return moved;
}

Case make_case(const Problem& problem, const LanczosOptions& options) {
  const BoundedOperator& h = problem.h;
  const bool full = options.reorthogonalize == Reorthogonalize::full;
  return {.op = "slq",
          .label = {{"dtype", std::string(bench::name_of(h.dtype()))},
                    {"matrix", problem.name},
                    {"n", std::to_string(h.size())},
                    {"K", std::to_string(options.num_probes)},
                    {"m", std::to_string(options.num_steps)},
                    {"reorthogonalize", full ? "full" : "none"}},
          .bytes = bytes_of_run(h, options),
          .flops = 0};
}

double verify_run(const Suite& suite, const Problem& problem, const LanczosOptions& options,
                  const LanczosRun& run, const Quadrature& q) {
  const SlqCheck check(suite, problem.h, options);
  double worst = 0;
  if (problem.oracle != nullptr) {
    worst = bench::worse(check.product_error(*problem.oracle),
                         check.moment_error(*problem.oracle, run, q));
  }
  if (problem.prescribed != nullptr) {
    worst = bench::worse(worst, check.eigenbasis_error(*problem.prescribed, *problem.eigenvalues));
    worst = bench::worse(worst, check.measure_error(*problem.prescribed, *problem.eigenvalues, q));
    // A Rademacher probe may lack an eigenvector altogether.
    const bool to_the_end = options.kind == ProbeKind::gaussian &&
                            options.reorthogonalize == Reorthogonalize::full &&
                            options.num_steps >= problem.h.size();
    if (to_the_end) worst = bench::worse(worst, check.spectrum_error(*problem.eigenvalues, q));
  }
  return worst;
}

/// Wasserstein-1 distance of the mean of the quadratures to the spectrum, over its range.
double distance_to_truth(const std::vector<double>& eigenvalues, const Quadrature& q) {
  std::vector<std::pair<double, double>> atoms;
  for (std::size_t i = 0; i < q.nodes.size(); ++i) {
    atoms.emplace_back(q.nodes[i], q.weights[i] / static_cast<double>(q.num_probes));
  }
  std::sort(atoms.begin(), atoms.end());
  std::vector<double> nodes, weights;
  for (const auto& [node, weight] : atoms) {
    nodes.push_back(node);
    weights.push_back(weight);
  }
  const std::vector<double> equal(eigenvalues.size(), 1 / static_cast<double>(eigenvalues.size()));
  const double range = eigenvalues.back() - eigenvalues.front();
  const double distance = wasserstein_distance(nodes, weights, eigenvalues, equal);
  return range > 0 ? distance / range : distance;
}

void report(Suite& suite, const Problem& problem, const LanczosOptions& options,
            const LanczosRun& run, const Quadrature& q) {
  const auto products = static_cast<double>(run.num_probes * run.num_steps);
  if (!suite.check()) {
    suite.note("ms_per_step_and_probe", 1e3 * suite.median() / products, "ms");
  }
  const Estimate trace = trace_estimate(run, q);
  suite.note("trace", trace.value);
  suite.note("trace_error", trace.error, "(half-width at 95 %, sampling)");
  suite.note("trace_exact", problem.trace);
  if (problem.eigenvalues != nullptr) {
    suite.note("w1_to_truth", distance_to_truth(*problem.eigenvalues, q), "of the range");
  }
  suite.note("memory_mb", lanczos_bytes(problem.h, options) * 1e-6, "MB, without the matrix");
  const auto rows = static_cast<std::size_t>(run.num_probes);
  suite.note_json("alpha", json_matrix(run.alpha, rows));
  suite.note_json("beta", json_matrix(run.beta, rows));
  suite.note_json("nodes", json_matrix(q.nodes, rows));
  suite.note_json("weights", json_matrix(q.weights, rows));
}

void run_problem(Suite& suite, const Problem& problem, const LanczosOptions& options) {
  const Case c = make_case(problem, options);
  if (!suite.wants(c)) return;
  const Context ctx = suite.context();
  LanczosRun run = lanczos(ctx, problem.h, options);
  Quadrature q = quadrature(ctx, run);
  suite.verify(c, [&] { return verify_run(suite, problem, options, run, q); });
  suite.time(c, 1, [&](int) {
    run = lanczos(ctx, problem.h, options);
    q = quadrature(ctx, run);
  });
  report(suite, problem, options, run, q);
}

void run_prescribed(Suite& suite, DType dtype, index_t n, const LanczosOptions& options) {
  const std::vector<double> eigenvalues = bench::network_spectrum(n);
  const PrescribedSpectrumOperator h(suite.context(), eigenvalues, dtype);
  std::optional<PrescribedSpectrumOperator> oracle;
  if (n <= kReferenceSize) oracle.emplace(suite.reference(), eigenvalues, DType::f64);
  const Problem problem{.name = "prescribed",
                        .h = h,
                        .oracle = oracle ? &*oracle : nullptr,
                        .trace = std::accumulate(eigenvalues.begin(), eigenvalues.end(), 0.0),
                        .eigenvalues = &eigenvalues,
                        .prescribed = &h};
  run_problem(suite, problem, options);
}

void run_sparse(Suite& suite, DType dtype, const std::string& name, const SparseMatrix& a,
                const LanczosOptions& options) {
  double trace = 0;
  for (index_t i = 0; i < a.rows; ++i) {
    for (index_t p = a.row_start[i]; p < a.row_start[i + 1]; ++p) {
      if (a.columns[p] == i) trace += a.values[p];
    }
  }
  const CsrOperator h(suite.context(), a, dtype), oracle(suite.reference(), a, DType::f64);
  run_problem(suite, {.name = name, .h = h, .oracle = &oracle, .trace = trace}, options);
}

/// Small problems, the awkward ones among them, with and without reorthogonalisation.
void run_checks(Suite& suite, DType dtype) {
  for (const Reorthogonalize mode : {Reorthogonalize::none, Reorthogonalize::full}) {
    LanczosOptions options{.num_probes = 3, .num_steps = 30, .reorthogonalize = mode};
    for (const index_t n : {1, 2, 32, 1024}) run_prescribed(suite, dtype, n, options);
    run_sparse(suite, dtype, "random", bench::random_symmetric(1000, 8, 3), options);
    run_sparse(suite, dtype, "band", bench::banded(257, 3, 4), options);
    options.kind = ProbeKind::gaussian;
    options.first_probe = 5;
    run_sparse(suite, dtype, "band-gaussian", bench::banded(100, 1, 5), options);
    options.num_steps = 64;
    run_prescribed(suite, dtype, 64, options);
  }
}

void run(Suite& suite, const Settings& settings) {
  for (const DType dtype : suite.dtypes()) {
    if (!settings.matrix.empty()) {
      run_sparse(suite, dtype, "file", read_matrix_market(settings.matrix), settings.lanczos);
    } else if (settings.random_n > 0) {
      const SparseMatrix a = bench::random_symmetric(settings.random_n, settings.random_per_row, 0);
      run_sparse(suite, dtype, "random", a, settings.lanczos);
    } else if (suite.check()) {
      run_checks(suite, dtype);
    } else {
      run_prescribed(suite, dtype, settings.n, settings.lanczos);
    }
  }
}

std::vector<bench::Flag> flags(Settings& s) {
  using bench::parse_integer;
  return {
      {"--n", "N", "a prescribed spectrum of N eigenvalues, a power of two; default 2^20",
       [&](const auto& v) { s.n = parse_integer("--n", v[0], 1, index_t{1} << 40); }},
      {"--matrix", "FILE", "a symmetric matrix in Matrix Market's coordinate format",
       [&](const auto& v) { s.matrix = v[0]; }},
      {"--random-csr", "N NNZ", "a random symmetric matrix with NNZ (even) entries a row",
       [&](const auto& v) {
         s.random_n = parse_integer("--random-csr N", v[0], 2);
         s.random_per_row = 2 * (parse_integer("--random-csr NNZ", v[1], 2) / 2);
       }},
      {"--steps", "M", "Lanczos steps; default 100",
       [&](const auto& v) { s.lanczos.num_steps = parse_integer("--steps", v[0], 1); }},
      {"--probes", "K", "probes; default 1",
       [&](const auto& v) { s.lanczos.num_probes = parse_integer("--probes", v[0], 1); }},
      {"--seed", "S", "seed of the probes; default 0",
       [&](const auto& v) {
         s.lanczos.seed = static_cast<std::uint64_t>(parse_integer("--seed", v[0], 0));
       }},
      {"--reorthogonalize", "MODE", "none (default) or full",
       [&](const auto& v) {
         if (v[0] != "none" && v[0] != "full") {
           throw bench::UsageError("--reorthogonalize must be none or full, got " + v[0]);
         }
         s.lanczos.reorthogonalize = v[0] == "full" ? Reorthogonalize::full : Reorthogonalize::none;
       }},
  };
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  hesscope::Settings settings;
  return hesscope::bench::run_main(
      "bench_slq", "spectral densities by stochastic Lanczos quadrature", argc, argv,
      [&](hesscope::bench::Suite& suite) { hesscope::run(suite, settings); },
      hesscope::flags(settings));
}
