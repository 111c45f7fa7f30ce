#include "kernels/probes_kernels.h"
#include "math/probe.h"

namespace hesscope::reference {
namespace {

/// Number `index` of a probe.
double element(const ProbeSpec& spec, index_t row, index_t index) {
  const ProbeKey key{spec.seed, static_cast<std::uint32_t>(spec.first_probe + row)};
  if (spec.kind == ProbeKind::rademacher) {
    const PhiloxBlock block = probe_block(key, kRademacherDomain, index / kSignsPerBlock);
    const index_t i = index % kSignsPerBlock;
    return (block.word[i / 32] >> (i % 32) & 1) != 0 ? -1.0 : 1.0;
  }
  const PhiloxBlock block = probe_block(key, kGaussianDomain, index / 2);
  const GaussianPair pair =
      gaussian_pair(block.word[0], block.word[1], block.word[2], block.word[3]);
  return index % 2 == 0 ? pair.even : pair.odd;
}

}  // namespace

template <typename T>
void probes(const Context&, const ProbeSpec& spec, MatrixView<T> out) {
  for (index_t r = 0; r < out.rows; ++r) {
    for (index_t i = 0; i < out.cols; ++i) {
      out.row(r)[i] = static_cast<T>(element(spec, r, spec.first_index + i));
    }
  }
}

template <typename T>
void probe_dot(const Context&, const ProbeSpec& spec, MatrixView<const T> w, VectorView<double> c) {
  for (index_t r = 0; r < w.rows; ++r) {
    long double sum = 0;
    for (index_t i = 0; i < w.cols; ++i) {
      const T z = static_cast<T>(element(spec, r, spec.first_index + i));
      sum += static_cast<long double>(z) * static_cast<long double>(w.row(r)[i]);
    }
    c[r] = static_cast<double>(sum);
  }
}

HESSCOPE_FOR_EACH_PROBE_TYPE(HESSCOPE_INSTANTIATE_PROBES)

}  // namespace hesscope::reference
