#include <algorithm>

#include "backends/cpu/slab_tasks.h"
#include "kernels/orthogonalize_kernels.h"
#include "kernels/workspace.h"
#include "math/accumulate.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

// Rows of a basis are megabytes apart. This many are read side by side, in runs of whole slabs:
// enough streams to keep memory busy, few enough for the hardware to follow. Row after row, a slab
// at a time, is half as fast: every row starts cold.
constexpr index_t kStreams = 8;

// Far enough ahead to hide memory, across the page boundaries where hardware prefetching stops.
constexpr int kPrefetchBytes = 2048;

/// Vectors that a task works on: the whole batch where it shares a basis, so that memory delivers
/// the basis once; one vector otherwise.
template <typename Q>
index_t vectors_per_task(const BatchView<Q>& q) {
  return q.batch_stride == 0 ? q.batch : 1;
}

/// out[r] = sum_i q[r, i] * w[i], in the order of dot_range.
template <typename Q, typename W>
void dot_rows(const Q* q,  // [rows, count], row stride ld
              index_t ld, index_t rows,
              const W* w,  // [count]
              index_t count,
              double* out  // [rows]
) {
  constexpr index_t kChunk = 256;  // of every row in turn; a multiple of kChains
  double sum[kStreams][kChains] = {};
  double x[kChunk];
  for (index_t begin = 0; begin < count; begin += kChunk) {
    const index_t length = std::min(kChunk, count - begin), whole = length / kChains * kChains;
    for (index_t i = 0; i < length; ++i) x[i] = widen(w[begin + i]);
    for (index_t r = 0; r < rows; ++r) {
      const Q* row = q + r * ld + begin;
      double part[kChains];
      for (int lane = 0; lane < kChains; ++lane) part[lane] = sum[r][lane];
      for (index_t i = 0; i < whole; i += kChains) {
        for (int lane = 0; lane < kChains; ++lane) {
          part[lane] = mul_add(row[i + lane], x[i + lane], part[lane]);
        }
      }
      for (int lane = 0; whole + lane < length; ++lane) {
        part[lane] = mul_add(row[whole + lane], x[whole + lane], part[lane]);
      }
      for (int lane = 0; lane < kChains; ++lane) sum[r][lane] = part[lane];
    }
  }
  for (index_t r = 0; r < rows; ++r) out[r] = add_chains(sum[r]);
}

/// sum[i] += sum_r c[r] * q[r, i], in the order r = 0, 1, ...
template <int kRows, typename Q>
void axpy_rows(const Q* q,  // [kRows, count], row stride ld
               index_t ld,
               const double* c,  // [kRows]
               index_t count,
               double* sum  // [count]
) {
  constexpr int kLanes = 16;  // a cache line of float32: one prefetch a line and row
  index_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    double part[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) part[lane] = sum[i + lane];
    for (int r = 0; r < kRows; ++r) {
      const Q* at = q + r * ld + i;
      __builtin_prefetch(reinterpret_cast<const char*>(at) + kPrefetchBytes);
      for (int lane = 0; lane < kLanes; ++lane) part[lane] = mul_add(at[lane], c[r], part[lane]);
    }
    for (int lane = 0; lane < kLanes; ++lane) sum[i + lane] = part[lane];
  }
  for (; i < count; ++i) {
    for (int r = 0; r < kRows; ++r) sum[i] = mul_add(q[r * ld + i], c[r], sum[i]);
  }
}

/// axpy_rows for a number of rows that is known at run time, at most kRows.
template <int kRows, typename Q>
void axpy_up_to(index_t rows,
                const Q* q,  // [rows, count], row stride ld
                index_t ld,
                const double* c,  // [rows]
                index_t count,
                double* sum  // [count]
) {
  if (rows == kRows) return axpy_rows<kRows>(q, ld, c, count, sum);
  if constexpr (kRows > 1) axpy_up_to<kRows - 1>(rows, q, ld, c, count, sum);
}

// Combinations of a shared basis that are made side by side, of so many columns: their sums stay in
// registers, and a number of the basis is widened once for all of them.
constexpr int kTileVectors = 4;
#ifdef __AVX512F__
constexpr int kTileColumns = 16;
#else
constexpr int kTileColumns = 8;  // half as many registers, half as wide: more would be spilled
#endif

// Columns of all rows that the tiles take from cache, one group of vectors after the other; while
// the first group does, the next ones are on their way.
constexpr index_t kPanel = 256;

/// Where a tile is.
template <typename Q, typename W>
struct Tile {
  const Q* q;  // [k, kTileColumns], row stride ld
  index_t ld, k;
  const double* c;  // [vectors, k], row stride c_ld
  index_t c_ld;
  W* w;  // [vectors, kTileColumns], row stride w_ld
  index_t w_ld;
  index_t prefetch;  // columns ahead, or 0
};

/// w[b, i] += scale * sum_j c[b, j] * q[j, i], in the order j = 0, 1, ...
template <int kVectors, typename Q, typename W>
void axpy_tile(const Tile<Q, W>& at, double scale) {
  double sum[kVectors][kTileColumns] = {};
  for (index_t j = 0; j < at.k; ++j) {
    const Q* row = at.q + j * at.ld;
    if (at.prefetch != 0) __builtin_prefetch(row + at.prefetch);
    double x[kTileColumns];
    for (int lane = 0; lane < kTileColumns; ++lane) x[lane] = widen(row[lane]);
    for (int b = 0; b < kVectors; ++b) {
      const double factor = at.c[b * at.c_ld + j];
      for (int lane = 0; lane < kTileColumns; ++lane) {
        sum[b][lane] = mul_add(x[lane], factor, sum[b][lane]);
      }
    }
  }
  for (int b = 0; b < kVectors; ++b) {
    W* target = at.w + b * at.w_ld;
    for (int lane = 0; lane < kTileColumns; ++lane) {
      target[lane] = static_cast<W>(mul_add(sum[b][lane], scale, widen(target[lane])));
    }
  }
}

/// axpy_tile for a number of vectors that is known at run time, at most kVectors.
template <int kVectors, typename Q, typename W>
void axpy_tile_up_to(index_t vectors, const Tile<Q, W>& at, double scale) {
  if (vectors >= kVectors) return axpy_tile<kVectors>(at, scale);
  if constexpr (kVectors > 1) axpy_tile_up_to<kVectors - 1>(vectors, at, scale);
}

/// w += scale * c q for columns begin to end, whole tiles.
template <typename Q, typename W>
void axpy_tiles(MatrixView<const Q> q, MatrixView<const double> c, MatrixView<W> w, double scale,
                index_t begin, index_t end) {
  for (index_t panel = begin; panel < end; panel += kPanel) {
    const index_t last = std::min(panel + kPanel, end);
    for (index_t b = 0; b < w.rows; b += kTileVectors) {
      for (index_t i = panel; i < last; i += kTileColumns) {
        axpy_tile_up_to<kTileVectors>(w.rows - b,
                                      Tile<Q, W>{.q = q.data + i,
                                                 .ld = q.ld,
                                                 .k = q.rows,
                                                 .c = c.row(b),
                                                 .c_ld = c.ld,
                                                 .w = w.row(b) + i,
                                                 .w_ld = w.ld,
                                                 .prefetch = b == 0 ? kPanel : 0},
                                      scale);
      }
    }
  }
}

/// sum[i] = sum_j c[j] * q[j, i], kStreams rows a pass.
template <typename Q>
void combine_rows(const Q* q,  // [k, count], row stride ld
                  index_t ld, index_t k,
                  const double* c,  // [k]
                  index_t count,
                  double* sum  // [count]
) {
  std::fill_n(sum, count, 0.0);
  for (index_t j = 0; j < k; j += kStreams) {
    axpy_up_to<kStreams>(std::min(kStreams, k - j), q + j * ld, ld, c + j, count, sum);
  }
}

/// w += scale * sum_j c[j] * q[j] for columns begin to end. A strip of float64 sums stays in cache
/// while the k rows stream past it: q and w move once.
template <typename Q, typename W>
void axpy_strips(MatrixView<const Q> q,
                 const double* c,  // [k]
                 W* w,             // [n]
                 double scale, index_t begin, index_t end) {
  constexpr index_t kStrip = 2 * kSlab;
  double sum[kStrip];
  for (; begin < end; begin += kStrip) {
    const index_t count = std::min(kStrip, end - begin);
    combine_rows(q.data + begin, q.ld, q.rows, c, count, sum);
    for (index_t i = 0; i < count; ++i) {
      w[begin + i] = static_cast<W>(mul_add(sum[i], scale, widen(w[begin + i])));
    }
  }
}

}  // namespace

template <typename Q, typename W>
void multi_dot(const Context& ctx, BatchView<const Q> q, MatrixView<const W> w,
               MatrixView<double> c) {
  const index_t n = q.cols, k = q.rows, slabs = num_slabs(n), vectors = vectors_per_task(q);
  auto workspace = ctx.workspace;
  double* partial = carve<double>(workspace, q.batch * k * slabs);  // [slabs, B, k]

  const SlabTasks tasks{.rows = ceil_div(q.batch, vectors), .n = n};
  for_each_task(ctx, tasks, q.batch * k * n, [&](index_t group, index_t first, index_t last) {
    for (index_t j = 0; j < k; j += kStreams) {
      const index_t rows = std::min(kStreams, k - j);
      for (index_t s = first; s < last; ++s) {
        const index_t begin = s * kSlab, count = std::min(kSlab, n - begin);
        for (index_t b = group * vectors; b < (group + 1) * vectors; ++b) {
          dot_rows(q.matrix(b).row(j) + begin, q.ld, rows, w.row(b) + begin, count,
                   partial + (s * q.batch + b) * k + j);
        }
      }
    }
  });

  for (index_t b = 0; b < q.batch; ++b) {
    for (index_t j = 0; j < k; ++j) {
      double sum = 0;
      for (index_t s = 0; s < slabs; ++s) sum += partial[(s * q.batch + b) * k + j];
      c.row(b)[j] = sum;
    }
  }
}

template <typename Q, typename W>
void multi_axpy(const Context& ctx, BatchView<const Q> q, MatrixView<const double> c,
                MatrixView<W> w, double scale) {
  const index_t n = q.cols, vectors = vectors_per_task(q);

  const SlabTasks tasks{.rows = ceil_div(q.batch, vectors), .n = n};
  for_each_task(ctx, tasks, q.batch * q.rows * n, [&](index_t group, index_t first, index_t last) {
    const index_t end = std::min(last * kSlab, n);
    index_t begin = first * kSlab;
    if (vectors > 1) {  // the only group: all that share the basis
      const index_t whole = begin + (end - begin) / kTileColumns * kTileColumns;
      axpy_tiles(q.matrix(0), c, w, scale, begin, whole);
      begin = whole;
    }
    for (index_t b = group * vectors; b < (group + 1) * vectors; ++b) {
      axpy_strips(q.matrix(b), c.row(b), w.row(b), scale, begin, end);
    }
  });
}

HESSCOPE_FOR_EACH_BASIS_TYPE(HESSCOPE_INSTANTIATE_ORTHOGONALIZE)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
