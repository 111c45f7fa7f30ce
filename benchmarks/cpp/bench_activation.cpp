// activation_derivatives reads n elements and writes D n: what limits it is the C++ library's
// functions, which runs once per batch and layer.
#include <cmath>
#include <limits>

#include "hesscope/activation.h"
#include "problem.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::OpProblem;
using bench::Suite;

struct Sizes {
  index_t orders, b, c;
};

void run_case(Suite& suite, DType dtype, Activation f, const Sizes& s) {
  const index_t n = s.b * s.c;
  const std::vector<index_t> outputs = {s.orders * n};
  const Case c{.op = "activation_derivatives",
               .label = {{"dtype", std::string(bench::name_of(dtype))},
                         {"f", std::string(name_of(f))},
                         {"D", std::to_string(s.orders)},
                         {"B", std::to_string(s.b)},
                         {"C", std::to_string(s.c)}},
               .bytes = bench::bytes_of(dtype, {n}, outputs)};
  if (!suite.wants(c)) return;
  const double low = f == Activation::log || f == Activation::sqrt || f == Activation::rsqrt ||
                             f == Activation::reciprocal
                         ? 0.25
                         : -1;
  std::vector<Tensor> inputs;
  inputs.push_back(bench::random_vector(dtype, n, 1, low));
  const int sets = suite.num_sets(c.bytes);
  OpProblem problem(
      suite, std::move(inputs), outputs,
      [=](const Context& ctx, const OpProblem::Views& in, const OpProblem::Views& out) {
        activation_derivatives(ctx, f, bench::shaped(in[0], {s.b, s.c}),
                               bench::shaped(out[0], {s.orders, s.b, s.c}));
      },
      sets);
  // One rounding to T of float64 arithmetic on functions that differ by a few ulp.
  const double eps = bench::epsilon(dtype);
  suite.verify(c, [&] {
    return problem.error([&](std::size_t output, index_t i) {
      const double size = 1 + std::abs(problem.wanted(output, i));
      return eps * size + 64 * std::numeric_limits<double>::epsilon() * size;
    });
  });
  suite.time(c, sets, [&](int set) { problem.run(set); });
}

const std::vector<Sizes> kChecked = {{4, 1, 1}, {1, 2, 33}, {3, 3, 129}};
const std::vector<Sizes> kTimed = {{2, 512, 512}, {4, 512, 512}};
const std::vector<Activation> kTimedFunctions = {Activation::relu, Activation::tanh,
                                                 Activation::gelu};

std::vector<Activation> all_functions() {
  std::vector<Activation> found;
  for (int f = 0; f <= static_cast<int>(Activation::square); ++f) {
    found.push_back(static_cast<Activation>(f));
  }
  return found;
}

void run(Suite& suite) {
  for (const DType dtype : suite.dtypes()) {
    for (const Activation f : suite.check() ? all_functions() : kTimedFunctions) {
      for (const Sizes& s : suite.check() ? kChecked : kTimed) run_case(suite, dtype, f, s);
    }
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_activation", "elementwise functions and derivatives",
                                   argc, argv, hesscope::run);
}
