// softmax_jet and its backward read every coefficient and the value of the softmax once from memory
// (again from cache where a row fits) and write out once: they wait for memory. softmax itself is
// limited by exp.
#include <algorithm>
#include <cmath>
#include <limits>

#include "hesscope/softmax_jet.h"
#include "problem.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::OpProblem;
using bench::Suite;
using Maybe = std::optional<TensorView>;

struct Sizes {
  index_t probes, rows, cols;
};

using Labels = std::vector<std::pair<std::string, std::string>>;

Labels labels(DType dtype, const Sizes& s) {
  return {{"dtype", std::string(bench::name_of(dtype))},
          {"K", std::to_string(s.probes)},
          {"B", std::to_string(s.rows)},
          {"C", std::to_string(s.cols)}};
}

/// Rows of positive numbers with sum 1.
Tensor distributions(DType dtype, const Sizes& s) {
  Tensor p = bench::random_vector(dtype, s.rows * s.cols, 7, 0.25);
  for (index_t b = 0; b < s.rows; ++b) {
    double sum = 0;
    for (index_t c = 0; c < s.cols; ++c) sum += bench::element(p, b * s.cols + c);
    for (index_t c = 0; c < s.cols; ++c) {
      bench::set_element(p, b * s.cols + c, bench::element(p, b * s.cols + c) / sum);
    }
  }
  return p;
}

void run_jet(Suite& suite, DType dtype, std::size_t order, bool logarithm, const Sizes& s) {
  const index_t n = s.rows * s.cols;
  std::vector<index_t> sizes(order, s.probes * n);
  const std::vector<index_t> outputs = sizes;
  sizes.insert(sizes.end(), {n, s.rows});
  Case c{.op = "softmax_jet",
         .label = labels(dtype, s),
         .bytes = bench::bytes_of(dtype, sizes, outputs)};
  c.label.emplace_back("order", std::to_string(order));
  c.label.emplace_back("of", logarithm ? "log" : "softmax");
  if (!suite.wants(c)) return;
  std::vector<Tensor> inputs;
  for (std::size_t j = 0; j < order; ++j) {
    inputs.push_back(bench::random_vector(dtype, s.probes * n, j + 1));
  }
  inputs.push_back(distributions(dtype, s));
  inputs.push_back(bench::random_vector(dtype, s.rows, 9, 0));
  const Tensor p = to_device(suite.reference(), inputs[order], {});
  const int sets = suite.num_sets(c.bytes);
  OpProblem problem(
      suite, std::move(inputs), outputs,
      [=](const Context& ctx, const OpProblem::Views& in, const OpProblem::Views& out) {
        OpProblem::Views x, y;
        for (std::size_t j = 0; j < order; ++j) {
          x.push_back(bench::shaped(in[j], {s.probes, s.rows, s.cols}));
          y.push_back(bench::shaped(out[j], {s.probes, s.rows, s.cols}));
        }
        softmax_jet(ctx, x, bench::shaped(in[order], {s.rows, s.cols}), Maybe(in[order + 1]),
                    logarithm, y);
      },
      sets);
  // Coefficients up to 1, weights up to 2: products of up to `order` differences of at most 2.
  const double eps = bench::epsilon(dtype);
  suite.verify(c, [&] {
    return problem.error([&](std::size_t k, index_t i) {
      const double size = std::pow(2.0, static_cast<double>(k) + 1);
      return 32 * eps * size * (logarithm ? 1 : bench::element(p, i % n));
    });
  });
  suite.time(c, sets, [&](int set) { problem.run(set); });
}

void run_backward(Suite& suite, DType dtype, const Sizes& s) {
  const index_t n = s.rows * s.cols;
  const std::vector<index_t> sizes = {s.probes * n, s.probes * n, n, n, s.rows};
  const std::vector<index_t> outputs = {s.probes * n};
  const Case c{.op = "softmax_jet_backward",
               .label = labels(dtype, s),
               .bytes = bench::bytes_of(dtype, sizes, outputs)};
  if (!suite.wants(c)) return;
  std::vector<Tensor> inputs;
  for (std::size_t j = 0; j < sizes.size(); ++j) {
    inputs.push_back(bench::random_vector(dtype, sizes[j], j + 1));
  }
  inputs[3] = distributions(dtype, s);
  const Tensor p = to_device(suite.reference(), inputs[3], {});
  const int sets = suite.num_sets(c.bytes);
  OpProblem problem(
      suite, std::move(inputs), outputs,
      [=](const Context& ctx, const OpProblem::Views& in, const OpProblem::Views& out) {
        const auto tall = [&](const TensorView& t) {
          return bench::shaped(t, {s.probes, s.rows, s.cols});
        };
        const auto flat = [&](const TensorView& t) { return bench::shaped(t, {s.rows, s.cols}); };
        softmax_jet_backward(ctx, Maybe(tall(in[0])), Maybe(tall(in[1])), flat(in[2]), flat(in[3]),
                             in[4], tall(out[0]));
      },
      sets);
  // dp (g - along) is at most 2; p times the sum over a row of <p, dg> and g dp at most 1 + C.
  const double eps = bench::epsilon(dtype);
  suite.verify(c, [&] {
    return problem.error([&](std::size_t, index_t i) {
      return 8 * eps * (2 + bench::element(p, i % n) * (2.0 + static_cast<double>(s.cols)));
    });
  });
  suite.time(c, sets, [&](int set) { problem.run(set); });
}

void run_value(Suite& suite, DType dtype, const Sizes& s) {
  const index_t n = s.rows * s.cols;
  const std::vector<index_t> outputs = {n, s.rows};
  const Case c{.op = "softmax",
               .label = {{"dtype", std::string(bench::name_of(dtype))},
                         {"B", std::to_string(s.rows)},
                         {"C", std::to_string(s.cols)}},
               .bytes = bench::bytes_of(dtype, {n}, outputs)};
  if (!suite.wants(c)) return;
  std::vector<Tensor> inputs;
  inputs.push_back(bench::random_vector(dtype, n, 1));
  const int sets = suite.num_sets(c.bytes);
  OpProblem problem(
      suite, std::move(inputs), outputs,
      [=](const Context& ctx, const OpProblem::Views& in, const OpProblem::Views& out) {
        softmax(ctx, bench::shaped(in[0], {s.rows, s.cols}),
                bench::shaped(out[0], {s.rows, s.cols}), bench::shaped(out[1], {s.rows, 1}));
      },
      sets);
  const double in_sum = 2 * static_cast<double>(s.cols + 40);
  const double eps = bench::epsilon(dtype) + in_sum * std::numeric_limits<double>::epsilon();
  suite.verify(c, [&] {
    return problem.error([&](std::size_t output, index_t i) {
      const double size = std::abs(problem.wanted(output, i));
      return eps * (output == 0 ? size : 1 + size);
    });
  });
  suite.time(c, sets, [&](int set) { problem.run(set); });
}

const std::vector<Sizes> kChecked = {{1, 1, 1},   {2, 3, 33},   {3, 5, 64},
                                     {2, 2, 700}, {1, 2, 2049}, {2, 1, 5000}};
const std::vector<Sizes> kTimed = {{1, 2048, 64}, {8, 2048, 64}, {8, 512, 512}, {4, 32, 50000}};

void run(Suite& suite) {
  for (const DType dtype : suite.dtypes()) {
    for (const Sizes& s : suite.check() ? kChecked : kTimed) {
      if (suite.check() || s.probes > 1) run_value(suite, dtype, s);
      for (const std::size_t order : {1, 2, 3}) {
        run_jet(suite, dtype, order, false, s);
        if (suite.check() || order == 1) run_jet(suite, dtype, order, true, s);
      }
      run_backward(suite, dtype, s);
    }
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_softmax_jet", "softmax and coefficients through it", argc,
                                   argv, hesscope::run);
}
