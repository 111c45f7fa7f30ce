// product_sum reads every operand once and writes the output once: it waits for memory, and for the
// interpretation of its terms where operands come from cache.
#include "hesscope/product_sum.h"
#include "problem.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::OpProblem;
using bench::Suite;

struct Sizes {
  index_t a, b, c;
};

/// Sums that the chain rule has: a product; second order of a composition; of a product with one.
struct Form {
  const char* name;
  std::size_t shared, moving;  // operands [1, B, C], and [A, B, C]
  std::vector<ProductTerm> terms;
};

const std::vector<Form> kForms = {
    {"product", 1, 1, {{1, {0, 1, -1, -1}}}},
    {"second", 2, 2, {{1, {0, 2, -1, -1}}, {0.5, {1, 3, 3, -1}}}},
    {"backward",
     4,
     3,
     {{1, {0, 4, -1, -1}}, {1, {1, 5, -1, -1}}, {2, {2, 5, 6, -1}}, {0.5, {3, 6, 6, -1}}}},
};

void run_case(Suite& suite, DType dtype, const Form& form, const Sizes& s) {
  const index_t n = s.b * s.c;
  std::vector<index_t> sizes(form.shared, n);
  sizes.insert(sizes.end(), form.moving, s.a * n);
  const std::vector<index_t> outputs = {s.a * n};
  const Case c{.op = "product_sum",
               .label = {{"dtype", std::string(bench::name_of(dtype))},
                         {"form", form.name},
                         {"A", std::to_string(s.a)},
                         {"B", std::to_string(s.b)},
                         {"C", std::to_string(s.c)}},
               .bytes = bench::bytes_of(dtype, sizes, outputs)};
  if (!suite.wants(c)) return;
  std::vector<Tensor> inputs;
  for (std::size_t j = 0; j < sizes.size(); ++j) {
    inputs.push_back(bench::random_vector(dtype, sizes[j], j + 1));
  }
  const int sets = suite.num_sets(c.bytes);
  OpProblem problem(
      suite, std::move(inputs), outputs,
      [&](const Context& ctx, const OpProblem::Views& in, const OpProblem::Views& out) {
        OpProblem::Views operands;
        for (std::size_t j = 0; j < in.size(); ++j) {
          operands.push_back(bench::shaped(in[j], {j < form.shared ? 1 : s.a, s.b, s.c}));
        }
        product_sum(ctx, operands, form.terms, bench::shaped(out[0], {s.a, s.b, s.c}));
      },
      sets);
  suite.verify(
      c, [&] { return problem.error_of_polynomial(static_cast<double>(form.terms.size()) + 4); });
  suite.time(c, sets, [&](int set) { problem.run(set); });
}

const std::vector<Sizes> kChecked = {{1, 1, 1}, {2, 3, 33}, {3, 5, 64}, {2, 1, 1000}};
const std::vector<Sizes> kTimed = {{1, 512, 512}, {8, 512, 512}};

void run(Suite& suite) {
  for (const DType dtype : suite.dtypes()) {
    for (const Form& form : kForms) {
      for (const Sizes& s : suite.check() ? kChecked : kTimed) run_case(suite, dtype, form, s);
    }
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_product_sum", "sums of elementwise products", argc, argv,
                                   hesscope::run);
}
