#pragma once

#include "backends/cpu/lanes.h"
#include "kernels/gemm_kernels.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64, kTileRows = 12;  // 24 of 32 registers hold sums
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32, kTileRows = 6;  // 12 of 16
#else
inline constexpr int kVectorBytes = 16, kTileRows = 6;
#endif

/// Columns of a tile: two vectors.
template <typename T>
inline constexpr int kTileColumns = 2 * kVectorBytes / static_cast<int>(sizeof(T));

static_assert(kGemmRows % kTileRows == 0 && kGemmColumns % kTileColumns<float> == 0);

/// Lanes of one vector.
template <typename T>
inline constexpr int kTileWidth = kTileColumns<T> / 2;

/// Where a tile finds a[i, p]: at data[i * line + p * step].
template <typename T>
struct TileRows {
  const T* data;
  index_t line, step;
};

/// c[i, j] (+)= alpha * sum_p a[i, p] * x[p, j] for kRows rows and kVectors vectors of columns. The
/// sum is one chain per element, in registers, whatever the size of the tile. first: c is written
/// without being read.
template <int kRows, int kVectors, typename T>
inline void multiply_tile(index_t depth, TileRows<T> a,
                          const T* x,  // [depth, kVectors * kTileWidth], row stride x_step
                          index_t x_step, T alpha, bool first,
                          T* c,  // [kRows, kVectors * kTileWidth], row stride ld
                          index_t ld) {
  constexpr int kWidth = kTileWidth<T>, kBases = (kRows + 2) / 3;
  using V = Lanes<T, kWidth>;
  V sum[kRows][kVectors] = {};
  const T* base[kBases];  // of three rows each: what lies 0, 1 and 2 strides away needs no pointer
#pragma GCC unroll 4
  for (int q = 0; q < kBases; ++q) base[q] = a.data + 3 * q * a.line;
  for (index_t p = 0; p < depth; ++p) {
    V right[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) load_lanes(right[v], x + v * kWidth);
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const T factor = base[i / 3][i % 3 * a.line];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[i][v] += factor * right[v];
    }
    x += x_step;
#pragma GCC unroll 4
    for (int q = 0; q < kBases; ++q) base[q] += a.step;
  }
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      T* to = c + i * ld + v * kWidth;
      V value;
      if (first) {
        value = alpha * sum[i][v];
      } else {
        load_lanes(value, to);
        value += alpha * sum[i][v];
      }
      store_lanes(to, value);
    }
  }
}

/// Copy `count` < 2 * kTileWidth numbers.
template <typename T>
inline void copy_part(T* to, const T* from, index_t count) {
  index_t i = 0;
#pragma GCC unroll 5
  for (int piece = kTileWidth<T>; piece > 0; piece /= 2) {
    if (count & piece) {
      std::memcpy(to + i, from + i, piece * sizeof(T));
      i += piece;
    }
  }
}

/// multiply_tile for `cols` columns of a vector or two, the rest being outside c: through a copy,
/// so that the arithmetic is that of a whole tile.
template <int kRows, typename T>
inline void multiply_columns(index_t depth, TileRows<T> a, const T* x, index_t x_step, T alpha,
                             bool first, T* c, index_t ld, index_t cols) {
  constexpr index_t kWidth = kTileWidth<T>, kColumns = kTileColumns<T>;
  if (cols >= kColumns) {
    multiply_tile<kRows, 2>(depth, a, x, x_step, alpha, first, c, ld);
  } else if (cols == kWidth) {
    multiply_tile<kRows, 1>(depth, a, x, x_step, alpha, first, c, ld);
  } else {
    T tile[kRows * kColumns] = {};
    for (int i = 0; i < kRows && !first; ++i) copy_part(tile + i * kColumns, c + i * ld, cols);
    if (cols < kWidth) {
      multiply_tile<kRows, 1>(depth, a, x, x_step, alpha, first, tile, kColumns);
    } else {
      multiply_tile<kRows, 2>(depth, a, x, x_step, alpha, first, tile, kColumns);
    }
    for (int i = 0; i < kRows; ++i) copy_part(c + i * ld, tile + i * kColumns, cols);
  }
}

/// The first rows of a tile of at most kTileRows: returns how many it has taken.
template <typename T>
inline index_t multiply_rows(index_t depth, TileRows<T> a, const T* x, index_t x_step, T alpha,
                             bool first, T* c, index_t ld, index_t rows, index_t cols) {
  constexpr int kMost = kTileRows, kMany = kTileRows / 3 * 2, kSome = kTileRows / 3;
  const auto multiply = [&]<int kRows>() -> index_t {
    multiply_columns<kRows>(depth, a, x, x_step, alpha, first, c, ld, cols);
    return kRows;
  };
  if (rows >= kMost) return multiply.template operator()<kMost>();
  if (rows >= kMany) return multiply.template operator()<kMany>();
  if (rows >= kSome) return multiply.template operator()<kSome>();
  if (kSome > 2 && rows >= 2) return multiply.template operator()<2>();
  return multiply.template operator()<1>();
}

/// The transpose of 4 x 4 numbers.
template <typename T>
inline void transpose_square(const T* from, index_t from_stride, T* to, index_t to_stride) {
  Lanes<T, 4> a, b, c, d;
  load_lanes(a, from);
  load_lanes(b, from + from_stride);
  load_lanes(c, from + 2 * from_stride);
  load_lanes(d, from + 3 * from_stride);
  const auto low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const auto high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const auto low2 = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const auto high2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  store_lanes(to, __builtin_shufflevector(low, low2, 0, 1, 4, 5));
  store_lanes(to + to_stride, __builtin_shufflevector(low, low2, 2, 3, 6, 7));
  store_lanes(to + 2 * to_stride, __builtin_shufflevector(high, high2, 0, 1, 4, 5));
  store_lanes(to + 3 * to_stride, __builtin_shufflevector(high, high2, 2, 3, 6, 7));
}

/// to[p, r] = from[r, p] for r < rows, 0 for the other r < kPanel that share a vector with them:
/// one panel of a packed operand. `stride` is between rows, `step` between the terms of the sum.
template <int kPanel, typename T>
inline void pack_panel(const T* from, index_t stride, index_t step, index_t rows, index_t depth,
                       T* to  // [depth, kPanel]
) {
  if (rows == kPanel && stride == 1) {
    for (index_t p = 0; p < depth; ++p) {
      for (int r = 0; r < kPanel; ++r) to[p * kPanel + r] = from[p * step + r];
    }
    return;
  }
  const index_t squares = step == 1 ? rows / 4 * 4 : 0, whole = depth / 4 * 4;
  for (index_t r = 0; r < squares; r += 4) {
    for (index_t p = 0; p < whole; p += 4) {
      transpose_square(from + r * stride + p, stride, to + p * kPanel + r, kPanel);
    }
    for (index_t i = r; i < r + 4; ++i) {
      for (index_t p = whole; p < depth; ++p) to[p * kPanel + i] = from[i * stride + p];
    }
  }
  const index_t used = rows <= kTileWidth<T> && kTileWidth<T> < kPanel ? kTileWidth<T> : kPanel;
  for (index_t p = 0; p < depth; ++p) {
    for (index_t r = squares; r < rows; ++r) to[p * kPanel + r] = from[r * stride + p * step];
    for (index_t r = rows; r < used; ++r) to[p * kPanel + r] = 0;
  }
}

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
