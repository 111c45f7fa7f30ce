// factor_sum reads every tangent and writes the output once, K N elements each, and reads every
// factor once, N elements: it waits for memory.
#include "hesscope/factor_sum.h"
#include "problem.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::OpProblem;
using bench::Suite;

struct Sizes {
  index_t probes, terms, a, b, c;
};

void run_case(Suite& suite, DType dtype, const Sizes& s) {
  const index_t n = s.a * s.b * s.c;
  std::vector<Tensor> inputs;
  std::vector<index_t> sizes;
  for (index_t j = 0; j < 2 * s.terms; ++j) sizes.push_back(j < s.terms ? n : s.probes * n);
  const std::vector<index_t> outputs = {s.probes * n};
  const Case c{.op = "factor_sum",
               .label = {{"dtype", std::string(bench::name_of(dtype))},
                         {"K", std::to_string(s.probes)},
                         {"terms", std::to_string(s.terms)},
                         {"A", std::to_string(s.a)},
                         {"B", std::to_string(s.b)},
                         {"C", std::to_string(s.c)}},
               .bytes = bench::bytes_of(dtype, sizes, outputs),
               .flops = static_cast<double>(2 * s.terms * s.probes * n)};
  if (!suite.wants(c)) return;
  for (std::size_t j = 0; j < sizes.size(); ++j) {
    inputs.push_back(bench::random_vector(dtype, sizes[j], j + 1));
  }
  const auto terms = static_cast<std::size_t>(s.terms);
  const int sets = suite.num_sets(c.bytes);
  OpProblem problem(
      suite, std::move(inputs), outputs,
      [=](const Context& ctx, const OpProblem::Views& in, const OpProblem::Views& out) {
        OpProblem::Views factors, tangents;
        for (std::size_t j = 0; j < terms; ++j) {
          factors.push_back(bench::shaped(in[j], {s.a, s.b, s.c}));
          tangents.push_back(bench::shaped(in[terms + j], {s.probes, s.a, s.b, s.c}));
        }
        factor_sum(ctx, factors, tangents, 0.5, false,
                   bench::shaped(out[0], {s.probes, s.a, s.b, s.c}));
      },
      sets);
  suite.verify(c,
               [&] { return problem.error_of_polynomial(2 * static_cast<double>(s.terms) + 2); });
  suite.time(c, sets, [&](int set) { problem.run(set); });
}

const std::vector<Sizes> kChecked = {{1, 1, 1, 1, 1}, {2, 2, 2, 3, 33},   {3, 3, 1, 5, 511},
                                     {5, 1, 3, 2, 7}, {2, 2, 1, 2, 1030}, {1, 3, 1, 1, 70001}};
const std::vector<Sizes> kTimed = {
    {1, 1, 1, 512, 512}, {8, 1, 1, 512, 512}, {8, 2, 1, 512, 512}, {8, 3, 1, 512, 512}};

void run(Suite& suite) {
  for (const DType dtype : suite.dtypes()) {
    for (const Sizes& s : suite.check() ? kChecked : kTimed) run_case(suite, dtype, s);
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_factor_sum", "sums of products with shared factors", argc,
                                   argv, hesscope::run);
}
