#pragma once

#include <cstdint>

#include "hesscope/context.h"
#include "hesscope/view.h"

namespace hesscope {

enum class ProbeKind : std::uint8_t { rademacher, gaussian };

/// Which random numbers: a probe is addressed, not stored (architecture.md, "Probes").
/// Element i of row r is number `first_index + i` of probe `first_probe + r` of this seed.
struct ProbeSpec {
  ProbeKind kind = ProbeKind::rademacher;
  std::uint64_t seed = 0;
  index_t first_probe = 0;  // in [0, 2^32 - K]
  index_t first_index = 0;  // in [0, 2^62 - n]; a shard of a vector starts at its global index
};

/// Random vectors from Philox 4x32-10 (Salmon, Moraes, Dror, Shaw 2011), key = seed,
/// counter = (block low, block high, probe, domain).
///
///   out  [K, n]  float32 or float64, rows contiguous, any row stride (output)
///
/// Rademacher (domain 0): sign = bit (index mod 128) of block index / 128, which is bit index mod
/// 32 of the block's word (index mod 128) / 32; a set bit is -1. Gaussian (domain 1): Box-Muller in
/// float64 on the two 53-bit uniforms of block index / 2, cosine first, then rounded to the dtype;
/// so float32 probes are the rounded float64 ones. Same bits for any K, n, number of threads and
/// shard, and on every backend, except that a device may differ by 4 ulp (float64) in Gaussian
/// probes. Writes K*n elements.
///
/// Throws ShapeError, DTypeError, DeviceError, ValueError; NotCompiled without that backend.
void probes(const Context& ctx, const ProbeSpec& spec, const TensorView& out);

/// Dot products with probes that are regenerated instead of read:  c[r] = sum_i z[r, i] * w[r, i].
///
///   w  [K, n]  float32 or float64, rows contiguous     c  [K] float64, any stride (output)
///
/// z is what `probes` gives in the dtype of w. Sums are float64, slab by slab, independent of K and
/// of the number of threads. n == 0 writes zeros. Reads K*n elements.
///
/// Throws ShapeError, DTypeError, DeviceError, WorkspaceError, ValueError; NotCompiled.
void probe_dot(const Context& ctx, const ProbeSpec& spec, const TensorView& w, const TensorView& c);

/// Bytes of workspace probe_dot needs: one float64 per slab of columns and row.
index_t probe_dot_workspace_bytes(index_t rows, index_t n);

}  // namespace hesscope
