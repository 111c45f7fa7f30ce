#include "hesscope/lanczos_run.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "hesscope/error.h"
#include "hesscope/lanczos.h"
#include "hesscope/orthogonalize.h"

namespace hesscope {
namespace {

constexpr DType kCoefficients = DType::f64;

double breakdown_tolerance(DType dtype) {
  return 8 * (dtype == DType::f64 ? std::numeric_limits<double>::epsilon()
                                  : std::numeric_limits<float>::epsilon());
}

index_t num_steps(const Operator& h, const LanczosOptions& options) {
  return std::min(options.num_steps, h.size());
}

index_t workspace_bytes(const Operator& h, const LanczosOptions& options) {
  const index_t k = options.num_probes, n = h.size();
  index_t most = std::max({h.workspace_bytes(k), probe_dot_workspace_bytes(k, n),
                           lanczos_update_workspace_bytes(k, n)});
  if (options.reorthogonalize == Reorthogonalize::full) {
    most = std::max(most, multi_dot_workspace_bytes(k, num_steps(h, options), n));
  }
  return most;
}

/// Vectors [K, n] are slots of one tensor [K, slots, n]: two that alternate, or a whole basis.
index_t num_slots(const Operator& h, const LanczosOptions& options) {
  return options.reorthogonalize == Reorthogonalize::full ? num_steps(h, options) + 1 : 2;
}

class Recurrence {
 public:
  Recurrence(const Context& ctx, const Operator& h, const LanczosOptions& options)
      : h_(h),
        options_(options),
        full_(options.reorthogonalize == Reorthogonalize::full),
        steps_(num_steps(h, options)),
        slots_(num_slots(h, options)),
        k_(options.num_probes),
        workspace_(ctx.device, workspace_bytes(h, options)),
        vectors_(ctx.device, h.dtype(), {k_, slots_, h.size()}),
        w_(ctx.device, h.dtype(), {k_, h.size()}),
        state_(ctx.device, kCoefficients, {k_, kLanczosStateSize}),
        alpha_(ctx.device, kCoefficients, {k_, steps_}),
        beta_(ctx.device, kCoefficients, {k_, steps_}),
        ctx_(ctx) {
    ctx_.workspace = workspace_.span();
  }

  LanczosRun run() {
    LanczosRun result{.num_probes = k_,
                      .num_steps = steps_,
                      .n = h_.size(),
                      .alpha = {},
                      .beta = {},
                      .norm_square = start()};
    for (index_t j = 0; j < steps_; ++j) {
      step(j);
      if (options_.on_step) options_.on_step(j + 1);
    }
    result.alpha = download(alpha_);
    result.beta = download(beta_);
    check_finite(result);
    return result;
  }

 private:
  /// Slot of q_j: [K, n].
  TensorView vector(index_t j) const { return select(vectors_, 1, j % slots_); }

  /// Writes the probes and the state before the first step; returns <z, z>.
  std::vector<double> start() {
    const ProbeSpec spec{.kind = options_.kind,
                         .seed = options_.seed,
                         .first_probe = options_.first_probe,
                         .first_index = 0};
    const Tensor squares(ctx_.device, kCoefficients, {k_});
    probes(ctx_, spec, vector(0));
    probe_dot(ctx_, spec, vector(0), squares);
    const std::vector<double> norm_square = download(squares);

    const Tensor state({}, kCoefficients, {k_, kLanczosStateSize});
    for (index_t r = 0; r < k_; ++r) {
      std::fill_n(state.row<double>(r), kLanczosStateSize, 0.0);
      state.row<double>(r)[kLanczosScale] = 1 / std::sqrt(norm_square[r]);
    }
    copy(ctx_, state, state_);
    if (full_) scales_ = Tensor({}, kCoefficients, {k_, slots_});
    return norm_square;
  }

  void step(index_t j) {
    if (full_) remember_scales(j);
    h_.apply(ctx_, vector(j), w_);
    // In the first step v_prev is not read; without a basis, next overwrites it.
    const TensorView v_prev = j == 0 ? vector(1) : vector(j - 1);
    lanczos_update(ctx_, w_, vector(j), v_prev, vector(j + 1), state_, select(alpha_, 1, j),
                   select(beta_, 1, j), breakdown_tolerance(h_.dtype()));
    if (full_) reorthogonalize(j);
  }

  /// q_j = scale * v_j: the scales of all stored rows, on the host.
  void remember_scales(index_t j) {
    const std::vector<double> state = download(state_);
    for (index_t r = 0; r < k_; ++r) {
      scales_.row<double>(r)[j] = state[r * kLanczosStateSize + kLanczosScale];
    }
  }

  /// next -= Q^T Q next, twice (Giraud, Langou, Rozloznik, van den Eshof 2005), and its norm anew.
  void reorthogonalize(index_t j) {
    const TensorView basis = narrow(vectors_, 1, 0, j + 1), next = vector(j + 1);
    for (int pass = 0; pass < 2; ++pass) {
      const Tensor c(ctx_.device, kCoefficients, {k_, j + 1});
      multi_dot(ctx_, basis, next, c);
      // The rows of the basis are q / scale, so the projection needs scale squared.
      const Tensor host = to_device(ctx_, c, {});
      for (index_t r = 0; r < k_; ++r) {
        for (index_t i = 0; i <= j; ++i) {
          const double scale = scales_.row<double>(r)[i];
          host.row<double>(r)[i] *= scale * scale;
        }
      }
      copy(ctx_, host, c);
      multi_axpy(ctx_, basis, c, next, -1.0);
    }
    renormalize(j);
  }

  /// beta and the state's scale follow the shortened vector; a recurrence may end here.
  void renormalize(index_t j) {
    const Tensor square(ctx_.device, kCoefficients, {k_, 1});
    multi_dot(ctx_, narrow(vectors_, 1, (j + 1) % slots_, 1), vector(j + 1), square);
    const Tensor squares = to_device(ctx_, square, {}), state = to_device(ctx_, state_, {});
    const Tensor beta = to_device(ctx_, beta_, {});
    for (index_t r = 0; r < k_; ++r) {
      double* row = state.row<double>(r);
      if (row[kLanczosScale] == 0) continue;
      const double norm = std::sqrt(squares.row<double>(r)[0]);
      const bool ended = norm <= breakdown_tolerance(h_.dtype()) * row[kLanczosLargest];
      row[kLanczosScale] = ended ? 0 : 1 / norm;
      row[kLanczosBetaPrev] = beta.row<double>(r)[j] = ended ? 0 : norm;
    }
    copy(ctx_, state, state_);
    copy(ctx_, beta, beta_);
  }

  /// All elements on the host, without the padding of rows.
  std::vector<double> download(const TensorView& t) const {
    const Tensor host = to_device(ctx_, t, {});
    const index_t rows = t.ndim == 1 ? 1 : t.shape[0], columns = t.shape[t.ndim - 1];
    std::vector<double> values;
    for (index_t r = 0; r < rows; ++r) {
      const double* row = host.data<double>() + r * host.view().stride[0];
      values.insert(values.end(), row, row + columns);
    }
    return values;
  }

  void check_finite(const LanczosRun& run) const {
    for (index_t i = 0; i < k_ * steps_; ++i) {
      HESSCOPE_CHECK(ValueError, std::isfinite(run.alpha[i]) && std::isfinite(run.beta[i]),
                     "lanczos: the operator must return finite products, got NaN or inf in step ",
                     i % steps_, " of probe ", options_.first_probe + i / steps_);
    }
  }

  const Operator& h_;
  const LanczosOptions& options_;
  bool full_;
  index_t steps_, slots_, k_;
  Buffer workspace_;
  Tensor vectors_, w_, state_, alpha_, beta_;
  Tensor scales_;  // [K, slots], on the host; full reorthogonalisation only
  Context ctx_;
};

}  // namespace

LanczosRun lanczos(const Context& ctx, const Operator& h, const LanczosOptions& options) {
  HESSCOPE_CHECK(ValueError, options.num_probes >= 1,
                 "lanczos: num_probes must be at least 1, got ", options.num_probes);
  HESSCOPE_CHECK(ValueError, options.num_steps >= 1, "lanczos: num_steps must be at least 1, got ",
                 options.num_steps);
  HESSCOPE_CHECK(ValueError, h.size() >= 1, "lanczos: the operator must have at least one row");
  HESSCOPE_CHECK(DeviceError, h.device() == ctx.device,
                 "lanczos: the operator must be on the device of the context");
  return Recurrence(ctx, h, options).run();
}

bool all_ended(const LanczosRun& run) {
  for (index_t k = 0; k < run.num_probes; ++k) {
    const double* row = run.beta.data() + k * run.num_steps;
    if (std::find(row, row + run.num_steps, 0.0) == row + run.num_steps) return false;
  }
  return true;
}

LanczosRun without_padding(const LanczosRun& run) {
  if (!all_ended(run)) return run;
  index_t steps = 0;
  for (index_t k = 0; k < run.num_probes; ++k) {
    const double* row = run.beta.data() + k * run.num_steps;
    steps = std::max<index_t>(steps, std::find(row, row + run.num_steps, 0.0) - row + 1);
  }
  LanczosRun cut = run;
  cut.num_steps = steps;
  for (std::vector<double> LanczosRun::* member : {&LanczosRun::alpha, &LanczosRun::beta}) {
    (cut.*member).clear();
    for (index_t k = 0; k < run.num_probes; ++k) {
      const auto row = (run.*member).begin() + k * run.num_steps;
      (cut.*member).insert((cut.*member).end(), row, row + steps);
    }
  }
  return cut;
}

double lanczos_bytes(const Operator& h, const LanczosOptions& options) {
  const auto rows = static_cast<double>(options.num_probes * (num_slots(h, options) + 1));
  return rows * static_cast<double>(padded_row(h.size()) * size_of(h.dtype())) +
         static_cast<double>(workspace_bytes(h, options));
}

}  // namespace hesscope
