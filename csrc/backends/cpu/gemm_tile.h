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

/// c[i, j] (+)= alpha * sum_p a[p, i] * x[p, j] for a tile of kTileRows x kTileColumns. The sum is
/// one chain per element, in registers. kFirst: c is written without being read.
template <bool kFirst, typename T>
inline void multiply_tile(index_t depth,
                          const T* a,  // [depth, kTileRows]
                          const T* x,  // [depth, kTileColumns]
                          T alpha,
                          T* c,  // [kTileRows, kTileColumns], row stride ld
                          index_t ld) {
  constexpr int kWidth = kTileColumns<T> / 2;
  using V = Lanes<T, kWidth>;
  V sum[kTileRows][2] = {};
  for (index_t p = 0; p < depth; ++p) {
    V left, right;
    load_lanes(left, x + p * 2 * kWidth);
    load_lanes(right, x + p * 2 * kWidth + kWidth);
#pragma GCC unroll 12
    for (int i = 0; i < kTileRows; ++i) {
      const T factor = a[p * kTileRows + i];
      sum[i][0] += factor * left;
      sum[i][1] += factor * right;
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      T* to = c + i * ld + half * kWidth;
      V value = {};
      if constexpr (!kFirst) load_lanes(value, to);
      if constexpr (kFirst) {
        value = alpha * sum[i][half];
      } else {
        value += alpha * sum[i][half];
      }
      store_lanes(to, value);
    }
  }
}

/// multiply_tile for a tile of which only `rows` x `cols` are inside c: through a copy, so that the
/// arithmetic is that of a whole tile.
template <bool kFirst, typename T>
inline void multiply_part_of_tile(index_t depth, const T* a, const T* x, T alpha, T* c, index_t ld,
                                  index_t rows, index_t cols) {
  T tile[kTileRows * kTileColumns<T>] = {};
  if constexpr (!kFirst) {
    for (index_t i = 0; i < rows; ++i) {
      for (index_t j = 0; j < cols; ++j) tile[i * kTileColumns<T> + j] = c[i * ld + j];
    }
  }
  multiply_tile<kFirst>(depth, a, x, alpha, tile, kTileColumns<T>);
  for (index_t i = 0; i < rows; ++i) {
    for (index_t j = 0; j < cols; ++j) c[i * ld + j] = tile[i * kTileColumns<T> + j];
  }
}

/// to[p, r] = from[first + r, p] for r < kPanel, zero past the last row: one panel of a packed
/// operand. `stride` is between rows, `step` between the terms of the sum.
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
  for (index_t r = 0; r < kPanel; ++r) {
    if (r >= rows) {
      for (index_t p = 0; p < depth; ++p) to[p * kPanel + r] = 0;
    } else if (step == 1) {
      for (index_t p = 0; p < depth; ++p) to[p * kPanel + r] = from[r * stride + p];
    } else {
      for (index_t p = 0; p < depth; ++p) to[p * kPanel + r] = from[r * stride + p * step];
    }
  }
}

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
