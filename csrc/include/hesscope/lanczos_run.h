#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "hesscope/operator.h"
#include "hesscope/probes.h"

namespace hesscope {

enum class Reorthogonalize : std::uint8_t {
  none,  // three vectors of length n a probe; right for densities and traces
  full   // Gram-Schmidt twice against a basis of num_steps + 1 vectors a probe
};

struct LanczosOptions {
  index_t num_probes = 4;
  index_t num_steps = 100;  // at most n are taken
  ProbeKind kind = ProbeKind::rademacher;
  std::uint64_t seed = 0;
  index_t first_probe = 0;
  Reorthogonalize reorthogonalize = Reorthogonalize::none;
  std::function<void(index_t done)> on_step = {};  // told after each step was given to the device
};

/// The tridiagonal matrices of K Lanczos recurrences: all that a density needs.
struct LanczosRun {
  index_t num_probes = 0, num_steps = 0, n = 0;
  std::vector<double> alpha;  // [K, m]
  std::vector<double> beta;   // [K, m]; beta[k, m - 1] is the norm of the residual; 0 ended it
  std::vector<double> norm_square;  // [K]: <z, z> of the probes, n for Rademacher
};

/// K Lanczos recurrences in lockstep, started from probes (Lanczos 1950; Paige 1972, variant A27).
///
/// The context's backend and device are used, and its workspace is not: all memory is allocated
/// once, at the start, 3 K n elements without reorthogonalisation and (num_steps + 2) K n with it.
/// A recurrence ends where beta <= 8 eps max(|alpha| + beta), eps of the vectors' dtype.
/// Costs num_steps products with H a probe. Nothing is synchronised in a step without
/// reorthogonalisation.
/// Throws ValueError for sizes below 1 and if the operator returns NaN or inf.
LanczosRun lanczos(const Context& ctx, const Operator& h, const LanczosOptions& options);

/// Whether every recurrence ended, so that the spectrum that the probes see is exact.
bool all_ended(const LanczosRun& run);

/// The steps up to the last that says anything: a run in which every recurrence ended is cut there.
LanczosRun without_padding(const LanczosRun& run);

/// Bytes of vectors, workspace and coefficients that lanczos() allocates.
double lanczos_bytes(const Operator& h, const LanczosOptions& options);

}  // namespace hesscope
