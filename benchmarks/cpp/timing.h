#pragma once

#include <functional>
#include <vector>

#include "hesscope/buffer.h"
#include "hesscope/context.h"

namespace hesscope::bench {

/// Seconds a call takes, from samples of at least a millisecond each.
struct Timing {
  double median = 0, p10 = 0, p90 = 0;
  double noise = 0;  // the medians of two equal rounds differ by this fraction
  index_t samples = 0;
};

/// Time `run(set)`, which starts work on the context's stream, for about `min_time` seconds: in two
/// equal rounds, going round `num_sets` sets of inputs. The first call warms up and is not counted,
/// unless it alone takes `min_time`.
Timing measure(const Context& ctx, const std::function<void(int)>& run, int num_sets,
               double min_time);

/// A plain copy of memory larger than every cache, with the context's threads: the ceiling that
/// memory-bound ops are compared with.
class CopyCeiling {
 public:
  explicit CopyCeiling(const Context& ctx);

  /// Bytes a second, read + written.
  double measure(double min_time) const;

 private:
  void copy_all() const;

  Context ctx_;
  Buffer source_, target_;
};

}  // namespace hesscope::bench
