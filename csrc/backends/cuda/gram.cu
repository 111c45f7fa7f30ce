#include "backends/cuda/aligned.h"
#include "backends/cuda/device/elements.cuh"
#include "backends/cuda/device/reduce.cuh"
#include "backends/cuda/launch.h"
#include "kernels/gram_kernels.h"
#include "kernels/workspace.h"
#include "math/accumulate.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kFinishThreads = 128;
constexpr int kTile = 4;  // a block has kTile x kTile entries

// Elements a thread takes of a row at a time: whole 16-byte accesses of the narrower type would
// need more registers than two blocks of a processor have.
template <typename Q, typename W>
constexpr int kWidth = kVectorWidth<Q> > kVectorWidth<W> ? kVectorWidth<Q> : kVectorWidth<W>;

// partial[i, j, p] = sum over panel p of q[i, c] * w[j, c].
// One block per panel and tile of 4 x 4 entries, the tiles of a panel side by side: memory delivers
// a panel of q and w once, L2 the repeats. 16 products per 8 elements loaded.
template <bool kAligned, typename Q, typename W>
__global__ void __launch_bounds__(kThreads)
    gram_partial_kernel(MatrixView<const Q> q,  // [k, n]
                        MatrixView<const W> w,  // [b, n]
                        unsigned w_tiles, unsigned tiles, bool symmetric,
                        double* __restrict__ partial,  // [k, b, panels]
                        index_t panels) {
  constexpr int kStep = kWidth<Q, W>;
  const unsigned tile = blockIdx.x % tiles, p = blockIdx.x / tiles;
  const index_t i0 = index_t{tile / w_tiles} * kTile, j0 = index_t{tile % w_tiles} * kTile;
  if (symmetric && j0 + kTile <= i0) return;
  const index_t end = min((index_t{p} + 1) * kGramPanel, q.cols);

  double sum[kTile][kTile] = {};
  for (index_t c = p * kGramPanel + threadIdx.x * kStep; c < end; c += kThreads * kStep) {
    // Rows beyond the last are the last one again: their sums are not written.
    W y[kTile][kStep];
#pragma unroll
    for (int s = 0; s < kTile; ++s) {
      load_elements<kAligned>(w.data + min(j0 + s, w.rows - 1) * w.ld, c, end, y[s]);
    }
#pragma unroll
    for (int r = 0; r < kTile; ++r) {
      Q x[kStep];
      load_elements<kAligned>(q.data + min(i0 + r, q.rows - 1) * q.ld, c, end, x);
#pragma unroll
      for (int s = 0; s < kTile; ++s) {
#pragma unroll
        for (int e = 0; e < kStep; ++e) sum[r][s] = mul_add(x[e], y[s][e], sum[r][s]);
      }
    }
  }

#pragma unroll
  for (int r = 0; r < kTile; ++r) {
#pragma unroll
    for (int s = 0; s < kTile; ++s) {
      const double total = block_sum<kThreads>(sum[r][s]);
      const index_t i = i0 + r, j = j0 + s;
      if (threadIdx.x == 0 && i < q.rows && j < w.rows) {
        partial[(i * w.rows + j) * panels + p] = total;
      }
    }
  }
}

// out[i, j] = sum_p partial[i, j, p]. One block per entry; where q is w, per entry not below the
// diagonal, which it writes twice.
__global__ void __launch_bounds__(kFinishThreads)
    gram_finish_kernel(const double* __restrict__ partial,  // [k, b, panels]
                       index_t panels, bool symmetric,
                       MatrixView<double> out  // [k, b]
    ) {
  const index_t i = blockIdx.x / out.cols, j = blockIdx.x % out.cols;
  if (symmetric && j < i) return;
  const double* panel = partial + index_t{blockIdx.x} * panels;
  double sum = 0;
  for (index_t p = threadIdx.x; p < panels; p += kFinishThreads) sum += panel[p];
  sum = block_sum<kFinishThreads>(sum);
  if (threadIdx.x == 0) {
    out.data[i * out.ld + j] = sum;
    if (symmetric) out.data[j * out.ld + i] = sum;
  }
}

}  // namespace

template <typename Q, typename W>
void gram(const Context& ctx, MatrixView<const Q> q, MatrixView<const W> w,
          MatrixView<double> out) {
  const ScopedDevice device(ctx.device);
  const bool symmetric = is_same_matrix(q, w);
  const index_t panels = num_gram_panels(q.cols);
  const index_t w_tiles = ceil_div(w.rows, kTile), tiles = w_tiles * ceil_div(q.rows, kTile);
  auto workspace = ctx.workspace;
  double* partial = carve<double>(workspace, q.rows * w.rows * panels);

  const auto kernel = rows_are_aligned(q) && rows_are_aligned(w) ? gram_partial_kernel<true, Q, W>
                                                                 : gram_partial_kernel<false, Q, W>;
  launch(kernel, make_grid(panels * tiles), kThreads, 0, stream_of(ctx), q, w,
         static_cast<unsigned>(w_tiles), static_cast<unsigned>(tiles), symmetric, partial, panels);
  launch(gram_finish_kernel, make_grid(q.rows * w.rows), kFinishThreads, 0, stream_of(ctx), partial,
         panels, symmetric, out);
}

HESSCOPE_FOR_EACH_GRAM_TYPE(HESSCOPE_INSTANTIATE_GRAM)

}  // namespace hesscope::cuda
