// norm_jet and its backward read every coefficient and y once from memory (again from cache where a
// group fits) and write out once: they wait for memory.
#include <cmath>

#include "hesscope/norm_jet.h"
#include "problem.h"

namespace hesscope {
namespace {

using bench::Case;
using bench::OpProblem;
using bench::Suite;
using Maybe = std::optional<TensorView>;

struct Sizes {
  index_t probes, outer, groups, inner;
};

std::vector<std::pair<std::string, std::string>> labels(DType dtype, const Sizes& s, bool centred) {
  return {{"dtype", std::string(bench::name_of(dtype))},
          {"of", centred ? "layer" : "rms"},
          {"K", std::to_string(s.probes)},
          {"O", std::to_string(s.outer)},
          {"G", std::to_string(s.groups)},
          {"I", std::to_string(s.inner)}};
}

TensorView tall(const TensorView& t, const Sizes& s) {
  return bench::shaped(t, {s.probes, s.outer, s.groups, s.inner});
}
TensorView flat(const TensorView& t, const Sizes& s) {
  return bench::shaped(t, {s.outer, s.groups, s.inner});
}

/// Numbers [O, G, I] whose mean over a group is 0, as a layer norm has them.
Tensor centred_groups(DType dtype, const Sizes& s) {
  Tensor y = bench::random_vector(dtype, s.outer * s.groups * s.inner, 7);
  for (index_t g = 0; g < s.groups; ++g) {
    const auto for_each = [&](const std::function<void(index_t)>& f) {
      for (index_t o = 0; o < s.outer; ++o) {
        for (index_t i = 0; i < s.inner; ++i) f((o * s.groups + g) * s.inner + i);
      }
    };
    double sum = 0;
    for_each([&](index_t at) { sum += bench::element(y, at); });
    const double mean = sum / static_cast<double>(s.outer * s.inner);
    for_each([&](index_t at) { bench::set_element(y, at, bench::element(y, at) - mean); });
  }
  return y;
}

void run_jet(Suite& suite, DType dtype, std::size_t order, bool centred, const Sizes& s) {
  const index_t n = s.outer * s.groups * s.inner;
  std::vector<index_t> sizes(order, s.probes * n), outputs = sizes;
  sizes.insert(sizes.end(), {n, s.groups});
  outputs.insert(outputs.end(), 2 * order, s.probes * s.groups);
  Case c{.op = "norm_jet",
         .label = labels(dtype, s, centred),
         .bytes = bench::bytes_of(dtype, sizes, outputs)};
  c.label.emplace_back("order", std::to_string(order));
  if (!suite.wants(c)) return;
  std::vector<Tensor> inputs;
  for (std::size_t j = 0; j < sizes.size(); ++j) {
    inputs.push_back(bench::random_vector(dtype, sizes[j], j + 1, j <= order ? -1 : 0.25));
  }
  inputs[order] = centred_groups(dtype, s);
  const int sets = suite.num_sets(c.bytes);
  OpProblem problem(
      suite, std::move(inputs), outputs,
      [=](const Context& ctx, const OpProblem::Views& in, const OpProblem::Views& out) {
        OpProblem::Views x, y, mean, rstd;
        for (std::size_t j = 0; j < order; ++j) {
          x.push_back(tall(in[j], s));
          y.push_back(tall(out[j], s));
          mean.push_back(bench::shaped(out[order + j], {s.probes, s.groups}));
          rstd.push_back(bench::shaped(out[2 * order + j], {s.probes, s.groups}));
        }
        norm_jet(ctx, x, flat(in[order], s), in[order + 1], centred, y, mean, rstd);
      },
      sets);
  // Coefficients and y up to 1, rstd up to 2.25: terms of at most (1 + 2 rstd)^k, a few of them.
  const double eps = bench::epsilon(dtype);
  suite.verify(c, [&] {
    return problem.error([&](std::size_t output, index_t) {
      const auto k = static_cast<double>(output % order) + 1;
      return 8 * eps * std::pow(5.5, k);
    });
  });
  suite.time(c, sets, [&](int set) { problem.run(set); });
}

void run_backward(Suite& suite, DType dtype, bool centred, const Sizes& s) {
  const index_t n = s.outer * s.groups * s.inner;
  const std::vector<index_t> sizes = {s.probes * n, s.probes * n, s.probes * s.groups, n, n,
                                      s.groups,     2 * s.groups};
  const std::vector<index_t> outputs = {s.probes * n};
  const Case c{.op = "norm_jet_backward",
               .label = labels(dtype, s, centred),
               .bytes = bench::bytes_of(dtype, sizes, outputs)};
  if (!suite.wants(c)) return;
  std::vector<Tensor> inputs;
  for (std::size_t j = 0; j < sizes.size(); ++j) {
    inputs.push_back(bench::random_vector(dtype, sizes[j], j + 1));
  }
  const int sets = suite.num_sets(c.bytes);
  OpProblem problem(
      suite, std::move(inputs), outputs,
      [=](const Context& ctx, const OpProblem::Views& in, const OpProblem::Views& out) {
        norm_jet_backward(ctx, Maybe(tall(in[0], s)), Maybe(tall(in[1], s)),
                          Maybe(bench::shaped(in[2], {s.probes, s.groups})), flat(in[3], s),
                          flat(in[4], s), in[5], bench::shaped(in[6], {2, s.groups}), centred,
                          tall(out[0], s));
      },
      sets);
  // A sum of eight terms of at most 2, all inputs being at most 1.
  const double bound = 8 * bench::epsilon(dtype) * 16;
  suite.verify(c, [&] { return problem.error([&](std::size_t, index_t) { return bound; }); });
  suite.time(c, sets, [&](int set) { problem.run(set); });
}

const std::vector<Sizes> kChecked = {{1, 1, 1, 1},  {2, 1, 5, 37},  {2, 4, 3, 16},
                                     {2, 2, 2, 33}, {1, 3, 1, 700}, {2, 1, 2, 5000}};
const std::vector<Sizes> kTimed = {
    {1, 1, 512, 128}, {8, 1, 512, 128}, {8, 1, 512, 1024}, {8, 32, 64, 256}};

void run(Suite& suite) {
  for (const DType dtype : suite.dtypes()) {
    for (const Sizes& s : suite.check() ? kChecked : kTimed) {
      for (const bool centred : {true, false}) {
        for (const std::size_t order : {1, 2, 3}) {
          if (suite.check() || centred || order == 1) run_jet(suite, dtype, order, centred, s);
        }
        run_backward(suite, dtype, centred, s);
      }
    }
  }
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_main("bench_norm_jet", "coefficients through a normalisation", argc,
                                   argv, hesscope::run);
}
