// Products with the Hessian of a dense network, K at once: limited by arithmetic, so that the
// yardsticks are a gradient and gemm. --check compares with differences of gradients.
#include "mlp_bench.h"

namespace hesscope {
namespace {

void run(bench::MlpBench& bench) {
  const Context& ctx = bench.context();
  const auto product = [&](index_t k) { return bench.differences().gradient(bench.v(k)); };
  bench.gradient();
  bench.rows(
      {.name = "products", .first = 2, .later = 6},
      [&](MlpObjective& f, const TensorView& out) { f.products(ctx, bench.v(), out); }, product);
  bench.values(
      {.name = "quadratic", .first = 1, .later = 4},
      [&](MlpObjective& f, const TensorView& out) { f.quadratic(ctx, bench.v(), out); }, product);
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) {
  return hesscope::bench::run_mlp_main("bench_hvp", "products with the Hessian of a dense network",
                                       argc, argv, hesscope::run);
}
