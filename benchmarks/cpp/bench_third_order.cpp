// Contractions of the third derivative of a dense network, K at once: limited by arithmetic.
// --check compares with differences of products with the Hessian.
#include "mlp_bench.h"

namespace hesscope {
namespace {

void run(bench::MlpBench& bench) {
  const Context& ctx = bench.context();
  const auto same = [&](index_t k) { return bench.differences().product(bench.v(k), bench.v(k)); };
  bench.gradient();
  bench.rows(
      {.name = "contract_same", .first = 2, .later = 11},
      [&](MlpObjective& f, const TensorView& out) { f.contract(ctx, bench.v(), bench.v(), out); },
      same);
  bench.rows(
      {.name = "contract", .first = 3, .later = 18},
      [&](MlpObjective& f, const TensorView& out) { f.contract(ctx, bench.u(), bench.v(), out); },
      [&](index_t k) { return bench.differences().product(bench.u(k), bench.v(k)); });
  bench.values(
      {.name = "cubic", .first = 1, .later = 6},
      [&](MlpObjective& f, const TensorView& out) { f.cubic(ctx, bench.v(), out); }, same);
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_mlp_main("bench_third_order",
                                       "contractions of the third derivative of a dense network",
                                       argc, argv, hesscope::run);
}
