#include <algorithm>

#include "backends/cpu/parallel.h"
#include "kernels/probes_kernels.h"
#include "kernels/workspace.h"
#include "math/accumulate.h"
#include "math/probe.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

// Slabs are handed out several at a time, so that small problems stay on one thread.
constexpr index_t kSlabsPerTask = 16;
constexpr index_t kWordsPerSlab = kSlab / 32;

ProbeKey key_of(const ProbeSpec& spec, index_t row) {
  return {spec.seed, static_cast<std::uint32_t>(spec.first_probe + row)};
}

/// Call f(row, slab, begin, count) for every slab of every row.
template <typename F>
void for_each_slab(const Context& ctx, index_t rows, index_t n, const F& f) {
  const index_t slabs = num_slabs(n);
  cpu::parallel_for(ctx.num_threads, ceil_div(rows * slabs, kSlabsPerTask), [&](index_t task) {
    const index_t last = std::min((task + 1) * kSlabsPerTask, rows * slabs);
    for (index_t unit = task * kSlabsPerTask; unit < last; ++unit) {
      const index_t row = unit / slabs, slab = unit % slabs, begin = slab * kSlab;
      f(row, slab, begin, std::min(kSlab, n - begin));
    }
  });
}

/// The signs of `count` <= kSlab consecutive elements as one bit each, lowest bit first. An element
/// that starts anywhere in a block is shifted to bit 0 here, so that loops over them are aligned.
void slab_signs(ProbeKey key, index_t first, index_t count,
                std::uint32_t* sign  // [kWordsPerSlab]
) {
  constexpr index_t kBlocks = kSlab / kSignsPerBlock + 2;  // a ragged one, and one to shift in
  std::uint32_t word[4 * kBlocks];
  const index_t first_block = first / kSignsPerBlock, offset = first % kSignsPerBlock;
  const index_t blocks = ceil_div(offset + count, kSignsPerBlock) + 1;
  for (index_t b = 0; b < blocks; ++b) {
    const PhiloxBlock block = probe_block(key, kRademacherDomain, first_block + b);
    for (int j = 0; j < 4; ++j) word[4 * b + j] = block.word[j];
  }
  for (index_t j = 0; 32 * j < count; ++j) {
    sign[j] = sign_window(word, static_cast<int>(offset + 32 * j));
  }
}

// Masks from memory: before AVX2, a shift by an amount per lane is no vector instruction.
constexpr struct BitMasks {
  std::uint32_t lane[32];
  constexpr BitMasks() : lane() {
    for (int i = 0; i < 32; ++i) lane[i] = 1u << i;
  }
} kBit;

template <typename T>
void fill_signs(ProbeKey key, index_t first, index_t count,
                T* out  // [count]
) {
  std::uint32_t sign[kWordsPerSlab];
  slab_signs(key, first, count, sign);
  index_t i = 0;
  for (; i + 32 <= count; i += 32) {
    const std::uint32_t bits = sign[i / 32];
    for (int lane = 0; lane < 32; ++lane) {
      out[i + lane] = (bits & kBit.lane[lane]) != 0 ? T(-1) : T(1);
    }
  }
  for (int lane = 0; i + lane < count; ++lane) {
    out[i + lane] = (sign[i / 32] & kBit.lane[lane]) != 0 ? T(-1) : T(1);
  }
}

/// sum[i mod kChains] += z[i] w[i] over whole words of signs.
template <typename T>
void add_signed(const std::uint32_t* sign,  // [words]
                const T* w,                 // [32 * words]
                index_t words, double (&sum)[kChains]) {
  static_assert(32 % kChains == 0);
  double chain[kChains];
  for (int lane = 0; lane < kChains; ++lane) chain[lane] = sum[lane];
  for (index_t i = 0; i < words; ++i) {
    const std::uint32_t bits = sign[i];
    T product[32];
    for (int lane = 0; lane < 32; ++lane) {
      product[lane] = (bits & kBit.lane[lane]) != 0 ? -w[32 * i + lane] : w[32 * i + lane];
    }
    for (int j = 0; j < 32; j += kChains) {
      for (int lane = 0; lane < kChains; ++lane) chain[lane] += widen(product[j + lane]);
    }
  }
  for (int lane = 0; lane < kChains; ++lane) sum[lane] = chain[lane];
}

/// sum_i z[i] w[i], with the chains of dot_range: the bits are those of reading z.
template <typename T>
double dot_signs(ProbeKey key, index_t first, index_t count,
                 const T* w  // [count]
) {
  std::uint32_t sign[kWordsPerSlab];
  slab_signs(key, first, count, sign);
  double sum[kChains] = {};
  const index_t words = count / 32;
  add_signed(sign, w, words, sum);
  if (32 * words < count) {  // padded with zeros, which leave a chain as it is: none is ever -0
    T rest[32] = {};
    for (index_t i = 32 * words; i < count; ++i) rest[i - 32 * words] = w[i];
    add_signed(sign + words, rest, 1, sum);
  }
  return add_chains(sum);
}

/// Philox, then Box-Muller, then the shift to an odd first element, strip by strip in L1.
template <typename T>
void fill_gaussians(ProbeKey key, index_t first, index_t count,
                    T* out  // [count]
) {
  constexpr index_t kPairs = 128;
  std::uint32_t word[4][kPairs];
  double z[2 * kPairs];
  for (index_t begin = first / 2; 2 * begin < first + count; begin += kPairs) {
    const index_t pairs = std::min(kPairs, ceil_div(first + count, 2) - begin);
    for (index_t p = 0; p < pairs; ++p) {
      const PhiloxBlock block = probe_block(key, kGaussianDomain, begin + p);
      for (int j = 0; j < 4; ++j) word[j][p] = block.word[j];
    }
    for (index_t p = 0; p < pairs; ++p) {
      const GaussianPair pair = gaussian_pair(word[0][p], word[1][p], word[2][p], word[3][p]);
      z[2 * p] = pair.even;
      z[2 * p + 1] = pair.odd;
    }
    const index_t from = std::max(first, 2 * begin),
                  to = std::min(first + count, 2 * (begin + pairs));
    for (index_t i = from; i < to; ++i) out[i - first] = static_cast<T>(z[i - 2 * begin]);
  }
}

}  // namespace

template <typename T>
void probes(const Context& ctx, const ProbeSpec& spec, MatrixView<T> out) {
  for_each_slab(ctx, out.rows, out.cols, [&](index_t row, index_t, index_t begin, index_t count) {
    const ProbeKey key = key_of(spec, row);
    const index_t first = spec.first_index + begin;
    T* target = out.row(row) + begin;
    if (spec.kind == ProbeKind::rademacher) {
      fill_signs(key, first, count, target);
    } else {
      fill_gaussians(key, first, count, target);
    }
  });
}

template <typename T>
void probe_dot(const Context& ctx, const ProbeSpec& spec, MatrixView<const T> w,
               VectorView<double> c) {
  const index_t slabs = num_slabs(w.cols);
  auto workspace = ctx.workspace;
  double* partial = carve<double>(workspace, w.rows * slabs);  // [K, slabs]

  for_each_slab(ctx, w.rows, w.cols, [&](index_t row, index_t slab, index_t begin, index_t count) {
    const ProbeKey key = key_of(spec, row);
    const index_t first = spec.first_index + begin;
    const T* source = w.row(row) + begin;
    double& sum = partial[row * slabs + slab];
    if (spec.kind == ProbeKind::rademacher) {
      sum = dot_signs(key, first, count, source);
    } else {
      T z[kSlab];
      fill_gaussians(key, first, count, z);
      sum = dot_range(z, source, count);
    }
  });

  for (index_t row = 0; row < w.rows; ++row) {
    double sum = 0;
    for (index_t s = 0; s < slabs; ++s) sum += partial[row * slabs + s];
    c[row] = sum;
  }
}

HESSCOPE_FOR_EACH_PROBE_TYPE(HESSCOPE_INSTANTIATE_PROBES)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
