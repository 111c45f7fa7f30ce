#include "backends/cpu/lanes.h"
#include "backends/cpu/parallel.h"
#include "kernels/hadamard_kernels.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

constexpr int kLanes = 8;                    // elements of a vector: the lowest three bits
constexpr index_t kChunkBytes = 16 * 1024;   // half of L1
constexpr index_t kBlockBytes = 256 * 1024;  // a part of L2
constexpr index_t kTileBytes = 32 * 1024;    // a tile of a strided pass, on the stack
constexpr int kStridedBits = 8;              // at most, a pass: 128 bytes a row of a tile

/// Swap the lanes whose indices differ in one bit, and negate those in which it is set: the sum of
/// the result and `v` with the same negation is the butterfly (a + b, a - b) of that bit.
template <int kBit, typename V>
inline void lane_butterfly(V& v) {
  const V swapped = __builtin_shufflevector(v, v, 0 ^ kBit, 1 ^ kBit, 2 ^ kBit, 3 ^ kBit, 4 ^ kBit,
                                            5 ^ kBit, 6 ^ kBit, 7 ^ kBit);
  V sign;
  for (int i = 0; i < kLanes; ++i) sign[i] = (i & kBit) != 0 ? -1 : 1;
  v = swapped + v * sign;
}

/// The butterflies of the lowest bits of `size` numbers: three, or fewer where there are fewer.
template <typename T>
void low_stages(T* x,  // [size]
                index_t size) {
  for (index_t h = 1; size < kLanes && h < size; h *= 2) {
    for (index_t i = 0; i < size; ++i) {
      if ((i & h) != 0) continue;
      const T a = x[i], b = x[i + h];
      x[i] = a + b;
      x[i + h] = a - b;
    }
  }
  for (index_t i = 0; i + kLanes <= size; i += kLanes) {
    Lanes<T, kLanes> v;
    load_lanes(v, x + i);
    lane_butterfly<1>(v);
    lane_butterfly<2>(v);
    lane_butterfly<4>(v);
    store_lanes(x + i, v);
  }
}

/// The butterflies of one bit, stride h.
template <typename T>
void one_stage(T* x,  // [size]
               index_t size, index_t h) {
  for (index_t base = 0; base < size; base += 2 * h) {
    for (index_t i = base; i < base + h; i += kLanes) {
      Lanes<T, kLanes> a, b;
      load_lanes(a, x + i);
      load_lanes(b, x + i + h);
      store_lanes(x + i, a + b);
      store_lanes(x + i + h, a - b);
    }
  }
}

/// The butterflies of two bits, strides h and 2 h, in one pass.
template <typename T>
void two_stages(T* x,  // [size]
                index_t size, index_t h) {
  for (index_t base = 0; base < size; base += 4 * h) {
    for (index_t i = base; i < base + h; i += kLanes) {
      Lanes<T, kLanes> a, b, c, d;
      load_lanes(a, x + i);
      load_lanes(b, x + i + h);
      load_lanes(c, x + i + 2 * h);
      load_lanes(d, x + i + 3 * h);
      const Lanes<T, kLanes> ab = a + b, a_b = a - b, cd = c + d, c_d = c - d;
      store_lanes(x + i, ab + cd);
      store_lanes(x + i + h, a_b + c_d);
      store_lanes(x + i + 2 * h, ab - cd);
      store_lanes(x + i + 3 * h, a_b - c_d);
    }
  }
}

/// The butterflies of every bit from stride h >= kLanes on.
template <typename T>
void high_stages(T* x,  // [size]
                 index_t size, index_t h) {
  for (; 4 * h <= size; h *= 4) two_stages(x, size, h);
  if (2 * h <= size) one_stage(x, size, h);
}

template <typename T>
void multiply(T* x,  // [size]
              index_t size, T scale) {
  if (scale == T(1)) return;
  for (index_t i = 0; i < size; ++i) x[i] *= scale;
}

/// All bits of a contiguous block: first within pieces that fit L1, then across them.
template <typename T>
void transform_block(T* x,  // [size]
                     index_t size, T scale) {
  constexpr index_t kChunk = kChunkBytes / static_cast<index_t>(sizeof(T));
  const index_t chunk = size < kChunk ? size : kChunk;
  for (index_t begin = 0; begin < size; begin += chunk) {
    low_stages(x + begin, chunk);
    high_stages(x + begin, chunk, kLanes);
  }
  high_stages(x, size, chunk);
  multiply(x, size, scale);
}

/// The bits of strides inner, 2 inner, ..., (length / 2) inner for `width` neighbouring columns of
/// [length, inner]. They are copied into a tile, since rows a power of two apart share cache sets.
template <typename T>
void transform_columns(T* x, index_t length, index_t inner, index_t width, T scale) {
  T tile[kTileBytes / sizeof(T)];
  for (index_t j = 0; j < length; ++j) {
    __builtin_memcpy(tile + j * width, x + j * inner, static_cast<std::size_t>(width) * sizeof(T));
  }
  high_stages(tile, length * width, width);
  multiply(tile, length * width, scale);
  for (index_t j = 0; j < length; ++j) {
    __builtin_memcpy(x + j * inner, tile + j * width, static_cast<std::size_t>(width) * sizeof(T));
  }
}

}  // namespace

// Passes over memory: one for the bits inside a block, then one for every 8 bits above. Every
// element meets its butterflies in the order of the bits whatever the blocking, so the blocking
// does not change a bit of the result. 2^16 to 2^24 float32 are two passes, up to 2^32 three.
template <typename T>
void walsh_hadamard(const Context& ctx, MatrixView<T> x, T scale) {
  constexpr index_t kBlock = kBlockBytes / static_cast<index_t>(sizeof(T));
  constexpr index_t kTile = kTileBytes / static_cast<index_t>(sizeof(T));
  const index_t n = x.cols, block = n < kBlock ? n : kBlock, blocks = n / block;

  cpu::parallel_for(ctx.num_threads, x.rows * blocks, [&](index_t task) {
    T* begin = x.row(task / blocks) + task % blocks * block;
    transform_block(begin, block, block == n ? scale : T(1));
  });

  for (index_t inner = block; inner < n;) {
    index_t length = 1;
    for (int bit = 0; bit < kStridedBits && inner * length < n; ++bit) length *= 2;
    const index_t width = kTile / length < inner ? kTile / length : inner;
    const index_t tiles = inner / width, tasks = n / (length * width);
    const T factor = inner * length == n ? scale : T(1);
    cpu::parallel_for(ctx.num_threads, x.rows * tasks, [&](index_t task) {
      const index_t part = task % tasks;
      T* begin = x.row(task / tasks) + part / tiles * (length * inner) + part % tiles * width;
      transform_columns(begin, length, inner, width, factor);
    });
    inner *= length;
  }
}

HESSCOPE_INSTANTIATE_HADAMARD(float)
HESSCOPE_INSTANTIATE_HADAMARD(double)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
