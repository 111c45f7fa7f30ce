#include <cstdint>

#include "backends/cpu/gemm_tile.h"
#include "backends/cpu/parallel.h"

// c += alpha * a x as Goto and van de Geijn (2008) block it: kGemmDepth terms of the sum at a time,
// a panel of x in the first cache, a block of a in the second, the tile of c in registers. Operands
// that are used often are packed first, in panels as wide as a tile, so that any strides are read
// once and the inner loop walks through contiguous memory.

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

// What one task computes of c: 12 KB of a a panel, so that a block of a fits the second cache.
constexpr index_t kBlockRows = 96, kBlockColumns = 512;
static_assert(kBlockRows % kTileRows == 0);

constexpr index_t kPanelsPerTask = 8;  // of packing

// Multiplications below which waking a thread costs more than it saves.
constexpr double kSerialWork = 1 << 20;

// An operand is read where it is if at most so many rows or columns of the other one use it:
// packing pays by being read again.
constexpr index_t kReadForColumns = 256, kReadForRows = 512;

/// Whether rows lie a multiple of pages apart: in the same few sets of a cache.
template <typename T>
bool shares_sets(const GemmOperand<T>& t) {
  constexpr index_t kPage = 4096 / static_cast<index_t>(sizeof(T));
  return t.row_stride % kPage == 0 || t.col_stride % kPage == 0;
}

index_t smaller(index_t a, index_t b) { return a < b ? a : b; }

/// A part of an operand, as tiles read it: where it is, or packed in panels [panels, depth,
/// kPanel]. Packing the same part again is skipped: a batch may share a matrix.
template <typename T, int kPanel>
class Part {
 public:
  explicit Part(T* memory) : memory_(memory) {}

  void refer(const T* from, index_t stride, index_t step, index_t rows, index_t depth) {
    data_ = from, from_ = nullptr;
    line_ = stride, step_ = step, panel_ = kPanel * stride, rows_ = rows, depth_ = depth;
  }

  void pack(int threads, const T* from, index_t stride, index_t step, index_t rows, index_t depth) {
    if (from == from_ && rows == rows_ && depth == depth_) return;
    refer(memory_, 1, kPanel, rows, depth);
    from_ = from, panel_ = kPanel * depth;
    const index_t panels = ceil_div(rows, kPanel);
    cpu::parallel_for(threads, ceil_div(panels, kPanelsPerTask), [&](index_t task) {
      const index_t end = smaller((task + 1) * kPanelsPerTask, panels);
      for (index_t i = task * kPanelsPerTask; i < end; ++i) {
        pack_panel<kPanel>(from + i * kPanel * stride, stride, step,
                           smaller(rows - i * kPanel, kPanel), depth, memory_ + i * kPanel * depth);
      }
    });
  }

  TileRows<T> at(index_t row) const {
    return {data_ + row / kPanel * panel_ + row % kPanel * line_, line_, step_};
  }
  bool packed() const { return from_ != nullptr; }
  index_t rows() const { return rows_; }
  index_t depth() const { return depth_; }

 private:
  T* memory_;
  const T *data_ = nullptr, *from_ = nullptr;
  index_t line_ = 0, step_ = 0, panel_ = 0, rows_ = 0, depth_ = 0;
};

template <typename T>
using RowsPart = Part<T, kTileRows>;
template <typename T>
using ColumnsPart = Part<T, kTileColumns<T>>;

/// Rows [row0, row1) and columns [col0, col1) of c (+)= alpha * a * x; row0 and col0 start a tile.
template <typename T>
void multiply_block(const RowsPart<T>& a, const ColumnsPart<T>& x, T alpha, bool first, T* c,
                    index_t ld, index_t row0, index_t row1, index_t col0, index_t col1) {
  for (index_t j = col0; j < col1; j += kTileColumns<T>) {
    const TileRows<T> right = x.at(j);
    for (index_t i = row0; i < row1;) {
      index_t rows = smaller(row1 - i, kTileRows);
      // Two tiles of 8 hide the time of a product better than 12 and 4.
      if (row1 - i == kTileRows / 3 * 4 && !a.packed()) rows = kTileRows / 3 * 2;
      i += multiply_rows(a.depth(), a.at(i), right.data, right.step, alpha, first, c + i * ld + j,
                         ld, rows, col1 - j);
    }
  }
}

template <typename T>
void multiply_parts(int threads, const RowsPart<T>& a, const ColumnsPart<T>& x, T alpha, bool first,
                    T* c, index_t ld) {
  const index_t across = ceil_div(x.rows(), kBlockColumns), m = a.rows(), n = x.rows();
  cpu::parallel_for(threads, ceil_div(m, kBlockRows) * across, [&](index_t task) {
    const index_t row0 = task / across * kBlockRows, row1 = smaller(row0 + kBlockRows, m);
    const index_t col0 = task % across * kBlockColumns, col1 = smaller(col0 + kBlockColumns, n);
    multiply_block(a, x, alpha, first, c, ld, row0, row1, col0, col1);
  });
}

/// c *= beta, for a beta that is neither 0, when c is not read, nor 1.
template <typename T>
void scale(int threads, T beta, MatrixView<T> c) {
  cpu::parallel_for(threads, ceil_div(c.rows, kBlockRows), [&](index_t task) {
    const index_t end = smaller((task + 1) * kBlockRows, c.rows);
    for (index_t i = task * kBlockRows; i < end; ++i) {
      T* row = c.row(i);
      for (index_t j = 0; j < c.cols; ++j) row[j] = beta == 0 ? 0 : beta * row[j];
    }
  });
}

template <typename T>
T* align(std::byte* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  return reinterpret_cast<T*>((address + kGemmAlignment - 1) / kGemmAlignment * kGemmAlignment);
}

}  // namespace

template <typename T>
void gemm(const Context& ctx, T alpha, GemmOperand<T> a, GemmOperand<T> x, T beta, BatchView<T> c) {
  const index_t m = c.rows, n = c.cols, k = alpha == 0 ? 0 : a.cols;
  const double work = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  const int threads = work < kSerialWork ? 1 : ctx.num_threads;
  const bool read_rows = n <= kReadForColumns && !shares_sets<T>(a);
  const bool read_columns =
      m <= kReadForRows && n % kTileWidth<T> == 0 && x.col_stride == 1 && !shares_sets<T>(x);
  T* memory = align<T>(ctx.workspace.data());
  RowsPart<T> rows(memory);
  ColumnsPart<T> columns(memory + gemm_packed(m, kGemmRows) * smaller(k, kGemmDepth));
  for (index_t b = 0; b < c.batch; ++b) {
    if (k == 0 || (beta != 0 && beta != 1)) scale(threads, beta, c.matrix(b));
    for (index_t j = 0; j < n; j += kGemmColumns) {
      for (index_t p = 0; p < k; p += kGemmDepth) {
        const index_t depth = smaller(k - p, kGemmDepth);
        const index_t cols = smaller(n - j, kGemmColumns);
        if (read_columns) {
          columns.refer(x.at(b, p, j), 1, x.row_stride, cols, depth);
        } else {
          columns.pack(threads, x.at(b, p, j), x.col_stride, x.row_stride, cols, depth);
        }
        for (index_t i = 0; i < m; i += kGemmRows) {
          const index_t height = smaller(m - i, kGemmRows);
          if (read_rows) {
            rows.refer(a.at(b, i, p), a.row_stride, a.col_stride, height, depth);
          } else {
            rows.pack(threads, a.at(b, i, p), a.row_stride, a.col_stride, height, depth);
          }
          multiply_parts(threads, rows, columns, alpha, p == 0 && beta == 0, c.matrix(b).row(i) + j,
                         c.ld);
        }
      }
    }
  }
}

HESSCOPE_INSTANTIATE_GEMM(float)
HESSCOPE_INSTANTIATE_GEMM(double)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
