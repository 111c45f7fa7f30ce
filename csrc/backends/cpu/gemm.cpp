#include <cstdint>

#include "backends/cpu/gemm_tile.h"
#include "backends/cpu/parallel.h"

// c += alpha * a x as Goto and van de Geijn (2008) block it: kGemmDepth terms of the sum at a time,
// a panel of x in the first cache, a block of a in the second, the tile of c in registers. Operands
// are packed first, in panels as wide as a tile, so that any strides are read once and the inner
// loop walks through contiguous memory.

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

// What one task computes of c: 12 KB of a a panel, so that a block of a fits the second cache.
constexpr index_t kBlockRows = 96, kBlockColumns = 512;
static_assert(kBlockRows % kTileRows == 0);

constexpr index_t kPanelsPerTask = 8;  // of packing

// Multiplications below which waking a thread costs more than it saves.
constexpr double kSerialWork = 1 << 20;

index_t smaller(index_t a, index_t b) { return a < b ? a : b; }

/// A part of an operand, packed in panels: [panels, depth, kPanel]. Packing the same part again is
/// skipped: a batch may share a matrix.
template <typename T, int kPanel>
class Packed {
 public:
  explicit Packed(T* memory) : memory_(memory) {}

  void pack(int threads, const T* from, index_t stride, index_t step, index_t rows, index_t depth) {
    if (from == from_ && rows == rows_ && depth == depth_) return;
    from_ = from, rows_ = rows, depth_ = depth;
    const index_t panels = ceil_div(rows, kPanel);
    cpu::parallel_for(threads, ceil_div(panels, kPanelsPerTask), [&](index_t task) {
      const index_t end = smaller((task + 1) * kPanelsPerTask, panels);
      for (index_t i = task * kPanelsPerTask; i < end; ++i) {
        pack_panel<kPanel>(from + i * kPanel * stride, stride, step,
                           rows - i * kPanel < kPanel ? rows - i * kPanel : kPanel, depth,
                           memory_ + i * kPanel * depth);
      }
    });
  }

  const T* panel(index_t i) const { return memory_ + i * kPanel * depth_; }
  index_t rows() const { return rows_; }
  index_t depth() const { return depth_; }

 private:
  T* memory_;
  const T* from_ = nullptr;
  index_t rows_ = 0, depth_ = 0;
};

template <typename T>
using PackedRows = Packed<T, kTileRows>;
template <typename T>
using PackedColumns = Packed<T, kTileColumns<T>>;

/// Rows [row0, row1) and columns [col0, col1) of c (+)= alpha * a * x; row0 and col0 start a tile.
template <bool kFirst, typename T>
void multiply_block(const PackedRows<T>& a, const PackedColumns<T>& x, T alpha, T* c, index_t ld,
                    index_t row0, index_t row1, index_t col0, index_t col1) {
  constexpr index_t kColumns = kTileColumns<T>;
  for (index_t j = col0; j < col1; j += kColumns) {
    for (index_t i = row0; i < row1; i += kTileRows) {
      const T *left = a.panel(i / kTileRows), *right = x.panel(j / kColumns);
      T* tile = c + i * ld + j;
      if (i + kTileRows <= row1 && j + kColumns <= col1) {
        multiply_tile<kFirst>(a.depth(), left, right, alpha, tile, ld);
      } else {
        multiply_part_of_tile<kFirst>(a.depth(), left, right, alpha, tile, ld,
                                      smaller(row1 - i, kTileRows), smaller(col1 - j, kColumns));
      }
    }
  }
}

template <typename T>
void multiply_packed(int threads, const PackedRows<T>& a, const PackedColumns<T>& x, T alpha,
                     bool first, T* c, index_t ld) {
  const index_t across = ceil_div(x.rows(), kBlockColumns), m = a.rows(), n = x.rows();
  cpu::parallel_for(threads, ceil_div(m, kBlockRows) * across, [&](index_t task) {
    const index_t row0 = task / across * kBlockRows, row1 = smaller(row0 + kBlockRows, m);
    const index_t col0 = task % across * kBlockColumns, col1 = smaller(col0 + kBlockColumns, n);
    if (first) {
      multiply_block<true>(a, x, alpha, c, ld, row0, row1, col0, col1);
    } else {
      multiply_block<false>(a, x, alpha, c, ld, row0, row1, col0, col1);
    }
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
  T* memory = align<T>(ctx.workspace.data());
  PackedRows<T> rows(memory);
  PackedColumns<T> columns(memory + gemm_packed(m, kGemmRows) * smaller(k, kGemmDepth));
  for (index_t b = 0; b < c.batch; ++b) {
    if (k == 0 || (beta != 0 && beta != 1)) scale(threads, beta, c.matrix(b));
    for (index_t j = 0; j < n; j += kGemmColumns) {
      for (index_t p = 0; p < k; p += kGemmDepth) {
        const index_t depth = smaller(k - p, kGemmDepth);
        columns.pack(threads, x.at(b, p, j), x.col_stride, x.row_stride,
                     smaller(n - j, kGemmColumns), depth);
        for (index_t i = 0; i < m; i += kGemmRows) {
          rows.pack(threads, a.at(b, i, p), a.row_stride, a.col_stride, smaller(m - i, kGemmRows),
                    depth);
          multiply_packed(threads, rows, columns, alpha, p == 0 && beta == 0,
                          c.matrix(b).row(i) + j, c.ld);
        }
      }
    }
  }
}

HESSCOPE_INSTANTIATE_GEMM(float)
HESSCOPE_INSTANTIATE_GEMM(double)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
