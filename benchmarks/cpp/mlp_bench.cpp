#include "mlp_bench.h"

#include <cmath>

#include "data.h"
#include "hesscope/gemm.h"

namespace hesscope::bench {
namespace {

/// A matrix as a batch of one.
TensorView batched(TensorView t) {
  t.ndim = 3;
  t.shape = {1, t.shape[0], t.shape[1]}, t.stride = {0, t.stride[0], 1};
  return t;
}

std::vector<MlpShape> timed_mlps() {
  return {{.widths = {32, 32, 32, 10}, .rows = 32}, {.widths = {128, 128, 128, 10}, .rows = 256}};
}

}  // namespace

MlpBench::MlpBench(Suite& suite, DType dtype, const MlpShape& shape)
    : suite_(suite),
      dtype_(dtype),
      shape_(shape),
      ctx_(suite.context()),
      differences_(shape),
      host_u_(random_vectors(shape, 3)),
      host_v_(random_vectors(shape, 4)),
      network_(ctx_, dtype, shape, differences_.parameters()),
      objective_(network_.objective()),
      u_(upload(ctx_, dtype, host_u_, shape.vectors)),
      v_(upload(ctx_, dtype, host_v_, shape.vectors)) {}

std::span<const double> MlpBench::row(const std::vector<double>& rows, index_t k) const {
  const auto n = static_cast<std::size_t>(shape_.size());
  return std::span(rows).subspan(static_cast<std::size_t>(k) * n, n);
}

double MlpBench::worst(const std::function<double(index_t k)>& error) const {
  return worse(error(0), error(shape_.vectors - 1));
}

void MlpBench::gradient() {
  MlpShape one = shape_;
  one.vectors = 1;
  const Case c = one.named("gradient", dtype_, 2, 3);
  const Tensor out = poisoned(ctx_, dtype_, {1, shape_.size()});
  const auto call = [&](int) {
    MlpObjective fresh = network_.objective();
    fresh.gradient(ctx_, out);
  };
  suite_.verify(c, [&] {
    call(0);
    const std::vector<double> got = download(ctx_, out);
    const Bounded slope = differences_.loss(v(0));
    const double rounding = 512 * epsilon(dtype_) * norm(got) * norm(v(0));
    const double error = std::abs(dot(got, v(0)) - slope.value[0]);
    return error == 0 ? 0 : error / (slope.error + rounding);
  });
  suite_.time(c, 1, call);
  if (!suite_.check()) gradient_seconds_ = suite_.median();
}

void MlpBench::rows(const MlpOp& op, const Call& call, const Truth& truth) {
  const Tensor out = poisoned(ctx_, dtype_, {shape_.vectors, shape_.size()});
  run(op, call, out, [&](index_t k) {
    return error_over_bound(download(ctx_, select(out, 0, k)), truth(k), dtype_);
  });
}

void MlpBench::values(const MlpOp& op, const Call& call, const Truth& truth) {
  const Tensor out = poisoned(ctx_, DType::f64, {shape_.vectors, 1});
  run(op, call, out, [&](index_t k) {
    const double got = download(ctx_, out)[static_cast<std::size_t>(k)];
    return error_over_bound(got, v(k), truth(k), dtype_);
  });
}

void MlpBench::run(const MlpOp& op, const Call& call, const TensorView& out,
                   const std::function<double(index_t k)>& error) {
  Case c = shape_.named(op.name, dtype_, op.first, op.later);
  c.flops *= static_cast<double>(shape_.vectors);
  if (!suite_.wants(c)) return;
  suite_.verify(c, [&] {
    call(objective_, out);
    return worst(error);
  });
  if (suite_.check()) return;
  const double before = gemm_rate();
  suite_.time(c, 1, [&](int) { call(objective_, out); });
  const double gemm = (before + gemm_rate()) / 2;
  const double each = suite_.median() / static_cast<double>(shape_.vectors);
  suite_.note("us_a_direction", each * 1e6, "us");
  suite_.note("gradients_a_direction", each / gradient_seconds_);
  suite_.note("gradients_by_operations", shape_.flops(op.first, op.later) / shape_.flops(2, 3));
  suite_.note("gemm_gflop_per_s", gemm * 1e-9, "GFLOP/s");
  suite_.note("percent_of_gemm", 100 * c.flops / suite_.median() / gemm, "%");
}

double MlpBench::gemm_rate() const {
  std::size_t widest = 0;
  const auto weights = [&](std::size_t l) { return shape_.widths[l] * shape_.widths[l + 1]; };
  for (std::size_t l = 1; l < shape_.depth(); ++l) {
    if (weights(l) > weights(widest)) widest = l;
  }
  const index_t m = shape_.rows, k = shape_.widths[widest], n = shape_.widths[widest + 1];
  const Tensor a = to_device(ctx_, random_tensor(dtype_, {m, k}, 1), ctx_.device);
  const Tensor x = to_device(ctx_, random_tensor(dtype_, {k, n}, 2), ctx_.device);
  const Tensor c(ctx_.device, dtype_, {m, n});
  const Buffer workspace(ctx_.device, gemm_workspace_bytes(m, n, k, dtype_));
  const Context ctx = suite_.context(workspace.span());
  const Timing timing = measure(
      ctx, [&](int) { gemm(ctx, 1.0, batched(a), batched(x), 0.0, batched(c)); }, 1,
      suite_.options().min_time / 2);
  return 2 * static_cast<double>(m * n * k) / timing.median;
}

int run_mlp_main(const char* name, const char* summary, int argc, char** argv,
                 const std::function<void(MlpBench&)>& body) {
  MlpShape shape = timed_mlps().front();
  bool given = false;
  const auto run = [&](Suite& suite) {
    const std::vector<MlpShape> usual = suite.check() ? checked_mlps() : timed_mlps();
    for (const DType dtype : suite.dtypes()) {
      for (const MlpShape& each : given ? std::vector{shape} : usual) {
        MlpBench bench(suite, dtype, each);
        body(bench);
      }
    }
  };
  return run_main(name, summary, argc, argv, run, mlp_flags(shape, given));
}

}  // namespace hesscope::bench
