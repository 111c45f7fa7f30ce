#include <cstdint>
#include <cstring>

#include "backends/cpu/lanes.h"
#include "backends/cpu/parallel.h"
#include "kernels/gram_kernels.h"
#include "kernels/workspace.h"
#include "math/accumulate.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

// Tiles of kTileQ x kTileW entries: 8 sums of one register each with 512-bit vectors, two with 256.
constexpr int kTileQ = 4, kTileW = 2, kLanes = 8;

// Columns that all rows take part with before the next ones: 200 KB at 100 rows of float32.
constexpr index_t kChunk = 512;

// Below this many products waking a thread costs more than it saves.
constexpr index_t kSerialProducts = index_t{1} << 16;

using Wide = Lanes<double, kLanes>;

/// to[lane] = from[lane], widened.
inline void load_wide(Wide& to, const double* from) { load_lanes(to, from); }

// A loop, not __builtin_convertvector: GCC 12 makes two halves and a shuffle of that.
inline void load_wide(Wide& to, const float* from) {
  double wide[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) wide[lane] = from[lane];
  load_lanes(to, wide);
}

inline void load_wide(Wide& to, const bfloat16* from) {
  Lanes<std::uint16_t, kLanes> half;
  load_lanes(half, from);
  const auto bits = __builtin_convertvector(half, Lanes<std::uint32_t, kLanes>) << 16;
  float narrow[kLanes];
  std::memcpy(narrow, &bits, sizeof(narrow));
  load_wide(to, narrow);
}

/// sum[r, s] += <q[r], w[s]> over `count` columns: interleaved chains, then added pairwise.
template <int kQ, int kW, typename Q, typename W>
void add_tile(const Q* q, index_t q_ld,               // [kQ, count], row stride q_ld
              const W* w, index_t w_ld,               // [kW, count], row stride w_ld
              index_t count, double* sum, index_t ld  // [kQ, kW], row stride ld
) {
  Wide chain[kQ][kW] = {};
  index_t c = 0;
  for (; c + kLanes <= count; c += kLanes) {
    Wide y[kW];
    for (int s = 0; s < kW; ++s) load_wide(y[s], w + s * w_ld + c);
    for (int r = 0; r < kQ; ++r) {
      Wide x;
      load_wide(x, q + r * q_ld + c);
      for (int s = 0; s < kW; ++s) chain[r][s] += x * y[s];
    }
  }
  for (int r = 0; r < kQ; ++r) {
    for (int s = 0; s < kW; ++s) {
      double part[kLanes];
      store_lanes(part, chain[r][s]);
      for (int lane = 0; c + lane < count; ++lane) {
        part[lane] = mul_add(q[r * q_ld + c + lane], w[s * w_ld + c + lane], part[lane]);
      }
      for (int width = kLanes / 2; width > 0; width /= 2) {
        for (int lane = 0; lane < width; ++lane) part[lane] += part[lane + width];
      }
      sum[r * ld + s] += part[0];
    }
  }
}

/// add_tile for numbers of rows known at run time, at most kQ and kW.
template <int kQ, int kW, typename Q, typename W>
void add_up_to(index_t rows, index_t cols, const Q* q, index_t q_ld, const W* w, index_t w_ld,
               index_t count, double* sum, index_t ld) {
  if (rows < kQ) {
    if constexpr (kQ > 1) add_up_to<kQ - 1, kW>(rows, cols, q, q_ld, w, w_ld, count, sum, ld);
  } else if (cols < kW) {
    if constexpr (kW > 1) add_up_to<kQ, kW - 1>(rows, cols, q, q_ld, w, w_ld, count, sum, ld);
  } else {
    add_tile<kQ, kW>(q, q_ld, w, w_ld, count, sum, ld);
  }
}

}  // namespace

// A strip of all rows stays in cache while every tile takes it: q and w move once.
template <typename Q, typename W>
void gram(const Context& ctx, MatrixView<const Q> q, MatrixView<const W> w,
          MatrixView<double> out) {
  const index_t k = q.rows, b = w.rows, n = q.cols, panels = num_gram_panels(n);
  const bool symmetric = is_same_matrix(q, w);
  auto workspace = ctx.workspace;
  double* partial = carve<double>(workspace, panels * k * b);  // [panels, k, b]
  const auto skipped = [&](index_t i, index_t j) { return symmetric && j + kTileW <= i; };

  const int threads = k * b * n < kSerialProducts ? 1 : ctx.num_threads;
  cpu::parallel_for(threads, panels, [&](index_t panel) {
    double* sum = partial + panel * k * b;
    for (index_t e = 0; e < k * b; ++e) sum[e] = 0;
    const index_t end = (panel + 1) * kGramPanel < n ? (panel + 1) * kGramPanel : n;
    for (index_t begin = panel * kGramPanel; begin < end; begin += kChunk) {
      const index_t count = kChunk < end - begin ? kChunk : end - begin;
      for (index_t i = 0; i < k; i += kTileQ) {
        for (index_t j = 0; j < b; j += kTileW) {
          if (skipped(i, j)) continue;
          add_up_to<kTileQ, kTileW>(kTileQ < k - i ? kTileQ : k - i,
                                    kTileW < b - j ? kTileW : b - j, q.row(i) + begin, q.ld,
                                    w.row(j) + begin, w.ld, count, sum + i * b + j, b);
        }
      }
    }
  });

  for (index_t i = 0; i < k; ++i) {
    for (index_t j = symmetric ? i : 0; j < b; ++j) {
      double sum = 0;
      for (index_t panel = 0; panel < panels; ++panel) sum += partial[(panel * k + i) * b + j];
      out.row(i)[j] = sum;
      if (symmetric) out.row(j)[i] = sum;
    }
  }
}

HESSCOPE_FOR_EACH_GRAM_TYPE(HESSCOPE_INSTANTIATE_GRAM)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
