#include "backends/cuda/launch.h"
#include "kernels/hadamard_kernels.h"

namespace hesscope::cuda {
namespace {

constexpr int kRoundBits = 4, kHeld = 1 << kRoundBits;  // a thread holds 16 elements in a round
constexpr int kTileBits = 12, kTile = 1 << kTileBits;   // elements of a block's tile
constexpr int kThreads = kTile / kHeld;
constexpr int kStridedBits = 7;  // of a strided pass: leaves rows of 32 elements in a tile
constexpr int kSmallThreads = 128;

/// Where tile element i lies: a gap after every 128 bytes keeps strides of 16 off a single bank.
template <typename T>
__device__ unsigned padded(unsigned i) {
  constexpr unsigned kRow = 128 / sizeof(T);
  return i + i / kRow;
}

/// The butterflies of index bits [bit + skip, bit + 4) of a tile, in registers.
template <typename T>
__device__ void tile_round(T* tile,  // padded
                           int bit, int skip) {
  const unsigned low = threadIdx.x & ((1u << bit) - 1), high = threadIdx.x >> bit;
  const unsigned base = (high << (bit + kRoundBits)) | low;
  T v[kHeld];
#pragma unroll
  for (unsigned e = 0; e < kHeld; ++e) v[e] = tile[padded<T>(base + (e << bit))];
#pragma unroll
  for (int stage = 0; stage < kRoundBits; ++stage) {
    if (stage < skip) continue;
#pragma unroll
    for (int e = 0; e < kHeld; ++e) {
      if ((e >> stage) % 2 != 0) continue;
      const T a = v[e], b = v[e + (1 << stage)];
      v[e] = a + b;
      v[e + (1 << stage)] = a - b;
    }
  }
#pragma unroll
  for (unsigned e = 0; e < kHeld; ++e) tile[padded<T>(base + (e << bit))] = v[e];
}

// One pass over memory: the butterflies of the upper `tile_bits - first_bit` bits of every tile.
// A tile is rows of 2^width_bits contiguous elements, `inner` apart: one row in the first pass (all
// bits of it), 2^7 rows in the passes above. Element e of a tile is column e mod 2^width_bits of
// its row e >> width_bits. Memory bound: reads and writes x once. Accesses of a warp are contiguous
// and sixteen per thread in flight; wider ones would conflict in the tile's banks.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    walsh_hadamard_kernel(T* x, index_t ld,  // [K, n]
                          unsigned tiles, int tile_bits, int width_bits, index_t inner,
                          int first_bit, T scale) {
  HESSCOPE_SHARED(T, tile, kTile + kTile * sizeof(T) / 128);
  const index_t width = index_t{1} << width_bits, part = blockIdx.x % tiles;
  const index_t across = inner >> width_bits;  // tiles side by side
  T* begin = x + blockIdx.x / tiles * ld + part / across * (inner << (tile_bits - width_bits)) +
             part % across * width;
  const unsigned threads = blockDim.x;

#pragma unroll
  for (unsigned k = 0; k < kHeld; ++k) {
    const unsigned e = threadIdx.x + k * threads;
    tile[padded<T>(e)] = begin[(e >> width_bits) * inner + (e & (width - 1))];
  }
  for (int bit = first_bit; bit < tile_bits; bit += kRoundBits) {
    __syncthreads();
    const int start = min(bit, tile_bits - kRoundBits);
    tile_round(tile, start, bit - start);
  }
  __syncthreads();
#pragma unroll
  for (unsigned k = 0; k < kHeld; ++k) {
    const unsigned e = threadIdx.x + k * threads;
    begin[(e >> width_bits) * inner + (e & (width - 1))] = tile[padded<T>(e)] * scale;
  }
}

// Rows shorter than one thread's share of a tile: a thread each.
template <typename T>
__global__ void __launch_bounds__(kSmallThreads)
    walsh_hadamard_small_kernel(MatrixView<T> x,  // [K, n], n < kHeld
                                T scale) {
  const index_t r = index_t{blockIdx.x} * kSmallThreads + threadIdx.x;
  if (r >= x.rows) return;
  T* row = x.data + r * x.ld;
  for (index_t h = 1; h < x.cols; h *= 2) {
    for (index_t i = 0; i < x.cols; ++i) {
      if ((i & h) != 0) continue;
      const T a = row[i], b = row[i + h];
      row[i] = a + b;
      row[i + h] = a - b;
    }
  }
  for (index_t i = 0; i < x.cols; ++i) row[i] *= scale;
}

}  // namespace

// Passes: one for the lowest 12 bits, then one for every 7 above. Each element meets its
// butterflies in the order of the bits, as on the CPU: the same bits.
template <typename T>
void walsh_hadamard(const Context& ctx, MatrixView<T> x, T scale) {
  const ScopedDevice device(ctx.device);
  const cudaStream_t stream = stream_of(ctx);
  if (x.cols < kHeld) {
    launch(walsh_hadamard_small_kernel<T>, make_grid(ceil_div(x.rows, kSmallThreads)),
           kSmallThreads, 0, stream, x, scale);
    return;
  }
  int bits = 0;
  while ((index_t{1} << bits) < x.cols) ++bits;
  const int tile_bits = bits < kTileBits ? bits : kTileBits;
  const index_t tiles = x.cols >> tile_bits;
  for (int done = 0; done < bits;) {
    const int left = bits - done;
    const int now = done == 0 ? tile_bits : left < kStridedBits ? left : kStridedBits;
    const int first_bit = tile_bits - now, width_bits = done == 0 ? tile_bits : first_bit;
    const index_t inner = index_t{1} << (done == 0 ? tile_bits : done);
    launch(walsh_hadamard_kernel<T>, make_grid(tiles * x.rows), (1u << tile_bits) / kHeld, 0,
           stream, x.data, x.ld, static_cast<unsigned>(tiles), tile_bits, width_bits, inner,
           first_bit, now == left ? scale : T(1));
    done += now;
  }
}

HESSCOPE_INSTANTIATE_HADAMARD(float)
HESSCOPE_INSTANTIATE_HADAMARD(double)

}  // namespace hesscope::cuda
