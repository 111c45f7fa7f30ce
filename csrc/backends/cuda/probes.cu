#include "backends/cuda/aligned.h"
#include "backends/cuda/device/elements.cuh"
#include "backends/cuda/device/reduce.cuh"
#include "backends/cuda/launch.h"
#include "kernels/probes_kernels.h"
#include "kernels/workspace.h"
#include "math/accumulate.h"
#include "math/probe.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 256;

/// One block of threads has one slab of one row.
struct Slab {
  ProbeKey key;
  index_t row, begin, end;  // columns [begin, end)
  index_t first;            // the number of column `begin` in its probe
};

__device__ inline Slab slab_of_block(const ProbeSpec& spec, unsigned slabs, index_t n) {
  const index_t row = blockIdx.x / slabs, begin = index_t{blockIdx.x % slabs} * kSlab;
  return {{spec.seed, static_cast<std::uint32_t>(spec.first_probe + row)},
          row,
          begin,
          min(begin + kSlab, n),
          spec.first_index + begin};
}

// The signs of a slab are at most 33 blocks of Philox; one more lets sign_window read behind the
// end.
constexpr int kSignBlocks = static_cast<int>(kSlab / kSignsPerBlock) + 2;
constexpr int kSignWords = 4 * kSignBlocks;

/// Fill `word` with the signs of a slab, from the block its first element is in. Call from every
/// thread.
__device__ inline void make_signs(const Slab& slab,
                                  std::uint32_t* word  // [kSignWords], shared
) {
  static_assert(kSignBlocks <= kThreads);
  if (threadIdx.x < kSignBlocks) {
    const PhiloxBlock block =
        probe_block(slab.key, kRademacherDomain, slab.first / kSignsPerBlock + threadIdx.x);
#pragma unroll
    for (int j = 0; j < 4; ++j) word[4 * threadIdx.x + j] = block.word[j];
  }
  __syncthreads();
}

// out[k, i] = +-1. One block per slab and row: 34 threads make the signs, then all write. Memory
// bound: 4 bytes an element in float32, in 16-byte stores; 0.3 integer operations a byte.
template <bool kAligned, typename T>
__global__ void __launch_bounds__(kThreads) probes_rademacher_kernel(ProbeSpec spec, unsigned slabs,
                                                                     MatrixView<T> out  // [K, n]
) {
  constexpr int kWidth = kVectorWidth<T>;
  HESSCOPE_SHARED(std::uint32_t, word, kSignWords);
  const Slab slab = slab_of_block(spec, slabs, out.cols);
  make_signs(slab, word);
  const int offset = static_cast<int>(slab.first % kSignsPerBlock);
  T* row = out.data + slab.row * out.ld;
  for (index_t i = slab.begin + threadIdx.x * kWidth; i < slab.end; i += kThreads * kWidth) {
    const std::uint32_t bits = sign_window(word, offset + static_cast<int>(i - slab.begin));
    T value[kWidth];
#pragma unroll
    for (int e = 0; e < kWidth; ++e) value[e] = (bits >> e & 1) != 0 ? T(-1) : T(1);
    store_elements<kAligned>(row, i, slab.end, value);
  }
}

// partial[k, s] = sum over slab s of z[k, i] * w[k, i]. As above, and reads w once.
template <bool kAligned, typename T>
__global__ void __launch_bounds__(kThreads)
    probe_dot_rademacher_kernel(ProbeSpec spec, unsigned slabs,
                                MatrixView<const T> w,        // [K, n]
                                double* __restrict__ partial  // [K, slabs]
    ) {
  constexpr int kWidth = kVectorWidth<T>;
  HESSCOPE_SHARED(std::uint32_t, word, kSignWords);
  const Slab slab = slab_of_block(spec, slabs, w.cols);
  make_signs(slab, word);
  const int offset = static_cast<int>(slab.first % kSignsPerBlock);
  const T* row = w.data + slab.row * w.ld;
  double sum = 0;
#pragma unroll 4
  for (index_t i = slab.begin + threadIdx.x * kWidth; i < slab.end; i += kThreads * kWidth) {
    T value[kWidth];
    load_elements<kAligned>(row, i, slab.end, value);
    const std::uint32_t bits = sign_window(word, offset + static_cast<int>(i - slab.begin));
#pragma unroll
    for (int e = 0; e < kWidth; ++e) sum += widen((bits >> e & 1) != 0 ? -value[e] : value[e]);
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// Call visit(i, z) for the Gaussian numbers z of this thread's columns i. Pairs are dealt out in
/// turn; a slab that starts or ends inside a pair uses half of it.
template <typename Visit>
__device__ inline void for_each_gaussian(const Slab& slab, const Visit& visit) {
  const index_t shift = slab.begin - slab.first;  // from number to column
  const index_t behind = slab.end - shift;
  for (index_t pair = slab.first / 2 + threadIdx.x; 2 * pair < behind; pair += kThreads) {
    const PhiloxBlock block = probe_block(slab.key, kGaussianDomain, pair);
    const GaussianPair z =
        gaussian_pair(block.word[0], block.word[1], block.word[2], block.word[3]);
    if (2 * pair >= slab.first) visit(2 * pair + shift, z.even);
    if (2 * pair + 1 < behind) visit(2 * pair + 1 + shift, z.odd);
  }
}

// out[k, i] = a Gaussian number. One block per slab and row. Bound by arithmetic: about 100
// operations in float64 a pair.
template <typename T>
__global__ void __launch_bounds__(kThreads) probes_gaussian_kernel(ProbeSpec spec, unsigned slabs,
                                                                   MatrixView<T> out  // [K, n]
) {
  const Slab slab = slab_of_block(spec, slabs, out.cols);
  T* row = out.data + slab.row * out.ld;
  for_each_gaussian(slab, [&](index_t i, double z) { row[i] = static_cast<T>(z); });
}

// partial[k, s] = sum over slab s of z[k, i] * w[k, i], for Gaussian z in the precision of w.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    probe_dot_gaussian_kernel(ProbeSpec spec, unsigned slabs,
                              MatrixView<const T> w,        // [K, n]
                              double* __restrict__ partial  // [K, slabs]
    ) {
  const Slab slab = slab_of_block(spec, slabs, w.cols);
  const T* row = w.data + slab.row * w.ld;
  double sum = 0;
  for_each_gaussian(slab,
                    [&](index_t i, double z) { sum = mul_add(static_cast<T>(z), row[i], sum); });
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// c[k] = sum_s partial[k, s]. One block per row.
__global__ void __launch_bounds__(kThreads)
    probe_dot_finish_kernel(const double* __restrict__ partial,  // [K, slabs]
                            index_t slabs,
                            VectorView<double> c  // [K]
    ) {
  const double* slab = partial + index_t{blockIdx.x} * slabs;
  double sum = 0;
  for (index_t s = threadIdx.x; s < slabs; s += kThreads) sum += slab[s];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) c.data[blockIdx.x * c.stride] = sum;
}

}  // namespace

template <typename T>
void probes(const Context& ctx, const ProbeSpec& spec, MatrixView<T> out) {
  const ScopedDevice device(ctx.device);
  const index_t slabs = num_slabs(out.cols);
  const auto kernel = spec.kind == ProbeKind::gaussian ? probes_gaussian_kernel<T>
                      : rows_are_aligned(out)          ? probes_rademacher_kernel<true, T>
                                                       : probes_rademacher_kernel<false, T>;
  launch(kernel, make_grid(out.rows * slabs), kThreads, 0, stream_of(ctx), spec,
         static_cast<unsigned>(slabs), out);
}

template <typename T>
void probe_dot(const Context& ctx, const ProbeSpec& spec, MatrixView<const T> w,
               VectorView<double> c) {
  const ScopedDevice device(ctx.device);
  const index_t slabs = num_slabs(w.cols);
  auto workspace = ctx.workspace;
  double* partial = carve<double>(workspace, w.rows * slabs);
  const auto kernel = spec.kind == ProbeKind::gaussian ? probe_dot_gaussian_kernel<T>
                      : rows_are_aligned(w)            ? probe_dot_rademacher_kernel<true, T>
                                                       : probe_dot_rademacher_kernel<false, T>;
  launch(kernel, make_grid(w.rows * slabs), kThreads, 0, stream_of(ctx), spec,
         static_cast<unsigned>(slabs), w, partial);
  launch(probe_dot_finish_kernel, make_grid(w.rows), kThreads, 0, stream_of(ctx), partial, slabs,
         c);
}

HESSCOPE_FOR_EACH_PROBE_TYPE(HESSCOPE_INSTANTIATE_PROBES)

}  // namespace hesscope::cuda
