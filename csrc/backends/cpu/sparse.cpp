#include <cstdint>

#include "backends/cpu/lanes.h"
#include "backends/cpu/parallel.h"
#include "kernels/slab.h"
#include "kernels/sparse_kernels.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

constexpr index_t kRowsPerTask = 2048, kColumnsPerTask = 4096;
constexpr index_t kTile = 64;  // rows whose results are gathered before they are written
constexpr index_t kCacheLine = 64;

// x at random columns is a cache miss an entry, and a core waits for few of them at a time in its
// first cache. Asking the second cache for entries this far ahead keeps more in flight: measured
// with a million columns, 8 vectors and 10 entries a row, 45 ms instead of 75.
constexpr index_t kEntriesAhead = 128;

index_t smaller(index_t a, index_t b) { return a < b ? a : b; }

/// to[c, r] = x[first + r, c]; lanes past the last row of x repeat row `first`.
template <typename T, int W>
void interleave(const Context& ctx, MatrixView<const T> x,  // [K, cols]
                index_t first, T* to                        // [cols, W]
) {
  const index_t used = smaller(x.rows - first, W);
  cpu::parallel_for(ctx.num_threads, ceil_div(x.cols, kColumnsPerTask), [&](index_t task) {
    const T* row[W];
    for (index_t r = 0; r < W; ++r) row[r] = x.row(first + (r < used ? r : 0));
    const index_t end = smaller((task + 1) * kColumnsPerTask, x.cols);
    for (index_t c = task * kColumnsPerTask; c < end; ++c) {
      Lanes<T, W> lanes;
      for (int r = 0; r < W; ++r) set_lane(lanes, r, row[r][c]);
      store_lanes(to + c * W, lanes);
    }
  });
}

/// Rows [begin, end) of the product with W interleaved vectors. Each lane adds the entries of a row
/// in their order, so a vector's bits do not depend on its neighbours. The matrix streams past
/// once; x is gathered W numbers at a time, and the results go through a tile so that every
/// vector's part of y is written contiguously.
template <typename T, typename I, int W>
void multiply_rows(const std::int64_t* row_start,  // [rows + 1]
                   const I* columns,               // [nnz]
                   const T* values,                // [nnz]
                   const T* x,                     // [cols, W]
                   index_t begin, index_t end, index_t first, index_t used,
                   MatrixView<T> y  // [K, rows]
) {
  const index_t last_entry = row_start[y.cols] - 1;
  T tile[W][kTile];
  for (index_t base = begin; base < end; base += kTile) {
    const index_t count = smaller(kTile, end - base);
    for (index_t i = 0; i < count; ++i) {
      Lanes<T, W> sum = {};
      for (index_t p = row_start[base + i]; p < row_start[base + i + 1]; ++p) {
        __builtin_prefetch(x + columns[smaller(p + kEntriesAhead, last_entry)] * W, 0, 2);
        Lanes<T, W> gathered;
        load_lanes(gathered, x + columns[p] * W);
        sum += values[p] * gathered;
      }
      for (int r = 0; r < W; ++r) tile[r][i] = get_lane<T>(sum, r);
    }
    for (index_t r = 0; r < used; ++r) {
      T* out = y.row(first + r) + base;
      for (index_t i = 0; i < count; ++i) out[i] = tile[r][i];
    }
  }
}

template <typename T>
T* align_to_cache_line(std::byte* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  return reinterpret_cast<T*>((address + kCacheLine - 1) / kCacheLine * kCacheLine);
}

template <typename T, typename I, int W>
void multiply_chunk(const Context& ctx, const std::int64_t* row_start, const I* columns,
                    const T* values, MatrixView<const T> x, MatrixView<T> y, index_t first) {
  const T* gathered = x.row(first);
  if constexpr (W > 1) {
    T* interleaved = align_to_cache_line<T>(ctx.workspace.data());
    interleave<T, W>(ctx, x, first, interleaved);
    gathered = interleaved;
  }
  cpu::parallel_for(ctx.num_threads, ceil_div(y.cols, kRowsPerTask), [&](index_t task) {
    multiply_rows<T, I, W>(row_start, columns, values, gathered, task * kRowsPerTask,
                           smaller((task + 1) * kRowsPerTask, y.cols), first,
                           smaller(y.rows - first, W), y);
  });
}

}  // namespace

template <typename T, typename I>
void csr_matvec(const Context& ctx, VectorView<const std::int64_t> row_start,
                VectorView<const I> columns, VectorView<const T> values, MatrixView<const T> x,
                MatrixView<T> y) {
  for (index_t first = 0; first < x.rows; first += kCsrChunk) {
    const auto multiply = [&]<int W>() {
      multiply_chunk<T, I, W>(ctx, row_start.data, columns.data, values.data, x, y, first);
    };
    switch (csr_lanes(smaller(x.rows - first, kCsrChunk))) {
      case 1:
        multiply.template operator()<1>();
        break;
      case 2:
        multiply.template operator()<2>();
        break;
      case 4:
        multiply.template operator()<4>();
        break;
      default:
        multiply.template operator()<8>();
    }
  }
}

HESSCOPE_FOR_EACH_CSR_TYPE(HESSCOPE_INSTANTIATE_SPARSE)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
