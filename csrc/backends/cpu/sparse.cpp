#include <cstdint>

#include "backends/cpu/lanes.h"
#include "backends/cpu/parallel.h"
#include "kernels/slab.h"
#include "kernels/sparse_kernels.h"
#include "kernels/workspace.h"
#include "math/lanczos.h"

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

/// Row i of the product with W interleaved vectors. Each lane adds the entries in their order, so a
/// vector's bits do not depend on its neighbours.
template <typename T, typename I, int W>
inline void multiply_row(Lanes<T, W>& sum, const std::int64_t* row_start, const I* columns,
                         const T* values, const T* x, index_t i, index_t last_entry) {
  sum = Lanes<T, W>{};
  for (index_t p = row_start[i]; p < row_start[i + 1]; ++p) {
    __builtin_prefetch(x + columns[smaller(p + kEntriesAhead, last_entry)] * W, 0, 2);
    Lanes<T, W> gathered;
    load_lanes(gathered, x + columns[p] * W);
    sum += values[p] * gathered;
  }
}

/// Rows [begin, end) of the product with W interleaved vectors. The matrix streams past once; x is
/// gathered W numbers at a time, and the results go through a tile so that every vector's part of y
/// is written contiguously.
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
      Lanes<T, W> sum;
      multiply_row<T, I, W>(sum, row_start, columns, values, x, base + i, last_entry);
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

/// What a step needs of W recurrences, side by side; lanes past the last are frozen.
template <int W>
struct StepLanes {
  Lanes<double, W> scale = {}, coupling = {}, shift = {};
};

template <typename T, int W>
inline void widen_lanes(Lanes<double, W>& wide, const Lanes<T, W>& narrow) {
  if constexpr (W == 1) {
    wide = narrow;
  } else {
    wide = __builtin_convertvector(narrow, Lanes<double, W>);
  }
}

template <typename T, int W>
inline void narrow_lanes(Lanes<T, W>& narrow, const Lanes<double, W>& wide) {
  if constexpr (W == 1) {
    narrow = static_cast<T>(wide);
  } else {
    narrow = __builtin_convertvector(wide, Lanes<T, W>);
  }
}

/// r = scale * A v - coupling * v_prev over v_prev, in rows [begin, end); sum = <v, r>. What a
/// scale or a coupling of 0 meets is not looked at.
template <typename T, typename I, int W>
void residual_rows(const CsrMatrix<T, I>& a, const StepLanes<W>& step, const T* v, T* v_prev,
                   index_t begin, index_t end, double* to  // [W]
) {
  const Lanes<double, W> zero = {};
  Lanes<double, W> sum = {};
  for (index_t i = begin; i < end; ++i) {
    Lanes<T, W> product, here, before;
    multiply_row<T, I, W>(product, a.row_start, a.columns, a.values, v, i, a.nnz - 1);
    load_lanes(here, v + i * W);
    load_lanes(before, v_prev + i * W);
    Lanes<double, W> wide, wide_before, wide_here;
    widen_lanes<T, W>(wide, product);
    widen_lanes<T, W>(wide_before, before);
    widen_lanes<T, W>(wide_here, here);
    wide = step.scale != 0 ? step.scale * wide : zero;
    wide -= step.coupling != 0 ? step.coupling * wide_before : zero;
    Lanes<T, W> rounded;
    narrow_lanes<T, W>(rounded, wide);
    store_lanes(v_prev + i * W, rounded);
    widen_lanes<T, W>(wide, rounded);
    sum += step.scale != 0 ? wide_here * wide : zero;
  }
  store_lanes(to, sum);
}

/// next = r - shift * v over r, in rows [begin, end); sum = <next, next>.
template <typename T, int W>
void next_rows(const StepLanes<W>& step, const T* v, T* r, index_t begin, index_t end,
               double* to  // [W]
) {
  const Lanes<double, W> zero = {};
  Lanes<double, W> sum = {};
  for (index_t i = begin; i < end; ++i) {
    Lanes<T, W> here, residual;
    load_lanes(here, v + i * W);
    load_lanes(residual, r + i * W);
    Lanes<double, W> wide, wide_here;
    widen_lanes<T, W>(wide, residual);
    widen_lanes<T, W>(wide_here, here);
    wide = step.scale != 0 ? wide - step.shift * wide_here : zero;
    Lanes<T, W> rounded;
    narrow_lanes<T, W>(rounded, wide);
    store_lanes(r + i * W, rounded);
    widen_lanes<T, W>(wide, rounded);
    sum += wide * wide;
  }
  store_lanes(to, sum);
}

/// Calls f(slab, begin, end) for slabs of rows, and adds what it writes to partial[slab], [W]: in
/// the order of slabs.
template <int W, typename F>
void add_slabs(const Context& ctx, index_t n,
               double* partial,  // [slabs, W]
               double (&total)[W], const F& f) {
  cpu::parallel_for(ctx.num_threads, num_slabs(n),
                    [&](index_t s) { f(s * kSlab, smaller((s + 1) * kSlab, n), partial + s * W); });
  for (int r = 0; r < W; ++r) total[r] = 0;
  for (index_t s = 0; s < num_slabs(n); ++s) {
    for (int r = 0; r < W; ++r) total[r] += partial[s * W + r];
  }
}

template <typename T, typename I, int W>
void lanczos_step(const Context& ctx, const CsrMatrix<T, I>& a, MatrixView<const T> v,
                  MatrixView<T> v_prev, MatrixView<double> state, VectorView<double> alpha,
                  VectorView<double> beta, double breakdown_tolerance) {
  auto workspace = ctx.workspace;
  double* partial = carve<double>(workspace, num_slabs(a.n) * W);
  double total[W];
  StepLanes<W> step;
  for (int r = 0; r < state.rows; ++r) {
    const LanczosRow row = lanczos_row(lanczos_read(state.row(r)));
    set_lane(step.scale, r, row.scale);
    set_lane(step.coupling, r, row.frozen ? 0.0 : row.coupling);
  }
  add_slabs<W>(ctx, a.n, partial, total, [&](index_t begin, index_t end, double* to) {
    residual_rows<T, I, W>(a, step, v.data, v_prev.data, begin, end, to);
  });
  for (int r = 0; r < state.rows; ++r) {
    const double scale = get_lane<double>(step.scale, r);
    alpha[r] = scale == 0 ? 0.0 : scale * total[r];
    set_lane(step.shift, r, alpha[r] * scale);
  }
  add_slabs<W>(ctx, a.n, partial, total, [&](index_t begin, index_t end, double* to) {
    next_rows<T, W>(step, v.data, v_prev.data, begin, end, to);
  });
  for (int r = 0; r < state.rows; ++r) {
    beta[r] = 0;
    LanczosRecord record = lanczos_read(state.row(r));
    if (record.scale == 0) continue;
    beta[r] = lanczos_advance(record, alpha[r], total[r], breakdown_tolerance);
    lanczos_write(record, state.row(r));
    for (index_t i = 0; beta[r] == 0 && i < a.n; ++i) v_prev.row(i)[r] = 0;
  }
}

}  // namespace

template <typename T, typename I>
void csr_lanczos_update(const Context& ctx, const CsrMatrix<T, I>& a, MatrixView<const T> v,
                        MatrixView<T> v_prev, MatrixView<double> state, VectorView<double> alpha,
                        VectorView<double> beta, double breakdown_tolerance) {
  const auto step = v.cols == 1   ? lanczos_step<T, I, 1>
                    : v.cols == 2 ? lanczos_step<T, I, 2>
                    : v.cols == 4 ? lanczos_step<T, I, 4>
                                  : lanczos_step<T, I, 8>;
  step(ctx, a, v, v_prev, state, alpha, beta, breakdown_tolerance);
}

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
