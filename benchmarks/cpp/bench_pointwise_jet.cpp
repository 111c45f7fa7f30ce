// pointwise_jet reads every coefficient and writes every output once, K N elements each, and reads
// the derivatives once, N elements each: it waits for memory.
#include "hesscope/pointwise_jet.h"
#include "problem.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::OpProblem;
using bench::Suite;

struct Sizes {
  index_t probes, n;
};

struct Form {
  const char* name;
  Monomials monomials;
};

const std::vector<Form> kForms = {{"s", Monomials::one},
                                  {"s,s^2", Monomials::two},
                                  {"s,s^2,s^3", Monomials::three},
                                  {"s,t,st", Monomials::mixed}};

void run_case(Suite& suite, DType dtype, const Form& form, bool product, const Sizes& s) {
  const auto count = static_cast<std::size_t>(count_of(form.monomials));
  const index_t rows = order_of(form.monomials) + 1;
  std::vector<index_t> sizes = {(product ? rows : rows - 1) * s.n};  // f itself only with a product
  if (product) sizes.push_back(s.n);
  sizes.insert(sizes.end(), product ? 2 * count : count, s.probes * s.n);
  const std::vector<index_t> outputs(count, s.probes * s.n);
  const Case c{.op = "pointwise_jet",
               .label = {{"dtype", std::string(bench::name_of(dtype))},
                         {"of", product ? "g f(x)" : "f(x)"},
                         {"monomials", form.name},
                         {"K", std::to_string(s.probes)},
                         {"N", std::to_string(s.n)}},
               .bytes = bench::bytes_of(dtype, sizes, outputs)};
  if (!suite.wants(c)) return;
  sizes[0] = rows * s.n;
  std::vector<Tensor> inputs;
  for (std::size_t j = 0; j < sizes.size(); ++j) {
    inputs.push_back(bench::random_vector(dtype, sizes[j], j + 1));
  }
  const int sets = suite.num_sets(c.bytes);
  OpProblem problem(
      suite, std::move(inputs), outputs,
      [=](const Context& ctx, const OpProblem::Views& in, const OpProblem::Views& out) {
        using Maybe = std::optional<TensorView>;
        std::vector<Maybe> x, g, y;
        const std::size_t first = product ? 2 : 1;
        for (std::size_t k = 0; k < count; ++k) {
          x.emplace_back(bench::shaped(in[first + k], {s.probes, s.n}));
          y.emplace_back(bench::shaped(out[k], {s.probes, s.n}));
          if (product) g.emplace_back(bench::shaped(in[first + count + k], {s.probes, s.n}));
        }
        pointwise_jet(ctx, form.monomials, bench::shaped(in[0], {rows, s.n}), x,
                      product ? Maybe(in[1]) : std::nullopt, g, y);
      },
      sets);
  suite.verify(c, [&] { return problem.error_of_polynomial(16); });
  suite.time(c, sets, [&](int set) { problem.run(set); });
}

const std::vector<Sizes> kChecked = {{1, 1}, {2, 33}, {3, 511}, {2, 1028}, {2, 20001}};
const std::vector<Sizes> kTimed = {{1, 1 << 18}, {8, 1 << 18}};

void run(Suite& suite) {
  for (const DType dtype : suite.dtypes()) {
    for (const Form& form : kForms) {
      for (const bool product : {false, true}) {
        for (const Sizes& s : suite.check() ? kChecked : kTimed) {
          run_case(suite, dtype, form, product, s);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_pointwise_jet",
                                   "coefficients through elementwise functions", argc, argv,
                                   hesscope::run);
}
