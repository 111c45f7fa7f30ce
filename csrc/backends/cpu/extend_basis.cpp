#include "backends/cpu/lanes.h"
#include "backends/cpu/slab_tasks.h"
#include "kernels/extend_basis_kernels.h"
#include "kernels/workspace.h"
#include "math/accumulate.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

// Columns that all rows take part with before the next ones: at 100 rows of float32 they are 26 KB,
// so that the second reading, for the dot products, comes from the first-level cache.
constexpr index_t kBlock = 64;
static_assert(kChains == kExtendBasisChains);
constexpr int kLanes = 8, kGroups = kBlock / kLanes, kParts = kChains / kLanes;

// Rows are megabytes apart, and there are more of them than hardware prefetching follows. Of 256 to
// 4096 bytes ahead this is the best measured, with 60 rows of 16 MB.
constexpr int kPrefetchBytes = 384, kLine = 64;

using Wide = Lanes<double, kLanes>;

inline void load_wide(Wide& to, const double* from) { load_lanes(to, from); }

inline void load_wide(Wide& to, const float* from) {
  Lanes<float, kLanes> narrow;
  load_lanes(narrow, from);
  to = __builtin_convertvector(narrow, Wide);
}

inline void store_narrow(double* to, const Wide& from) { store_lanes(to, from); }

inline void store_narrow(float* to, const Wide& from) {
  store_lanes(to, __builtin_convertvector(from, Lanes<float, kLanes>));
}

/// Where one block of columns of everything is.
template <typename T>
struct Columns {
  T* q;  // [j + 1, count], row stride ld
  index_t ld, j;
  T* v;                  // [count]
  const T* w;            // [count]
  const double *before,  // [j + 1]
      *after;            // [j + 2]
  double* chains;        // [j + 2, kChains]
};

/// x to the last row, r to v.
template <typename T>
void combine_block(const Columns<T>& at) {
  const index_t j = at.j;
  Wide x[kGroups], r[kGroups];
  for (int g = 0; g < kGroups; ++g) {
    load_wide(x[g], at.v + g * kLanes);
    load_wide(r[g], at.w + g * kLanes);
    x[g] *= at.before[j];
    r[g] *= at.after[j + 1];
  }
  for (index_t k = 0; k < j; ++k) {
    const T* row = at.q + k * at.ld;
    for (int byte = 0; byte < kBlock * static_cast<int>(sizeof(T)); byte += kLine) {
      __builtin_prefetch(reinterpret_cast<const char*>(row) + byte + kPrefetchBytes);
    }
    for (int g = 0; g < kGroups; ++g) {
      Wide y;
      load_wide(y, row + g * kLanes);
      x[g] += y * at.before[k];
      r[g] += y * at.after[k];
    }
  }
  T* last = at.q + j * at.ld;
  for (int g = 0; g < kGroups; ++g) {
    store_narrow(last + g * kLanes, x[g]);
    load_wide(x[g], last + g * kLanes);
    store_narrow(at.v + g * kLanes, r[g] + x[g] * at.after[j]);
  }
}

/// chains[k] += q_k * r, and the last += r * r.
template <typename T>
void dot_block(const Columns<T>& at) {
  Wide r[kGroups];
  for (int g = 0; g < kGroups; ++g) load_wide(r[g], at.v + g * kLanes);
  for (index_t k = 0; k <= at.j + 1; ++k) {
    const T* row = k <= at.j ? at.q + k * at.ld : at.v;
    double* chains = at.chains + k * kChains;
    Wide sum[kParts];
    for (int p = 0; p < kParts; ++p) load_lanes(sum[p], chains + p * kLanes);
    for (int g = 0; g < kGroups; ++g) {
      Wide y;
      load_wide(y, row + g * kLanes);
      sum[g % kParts] += y * r[g];
    }
    for (int p = 0; p < kParts; ++p) store_lanes(chains + p * kLanes, sum[p]);
  }
}

/// Both, for fewer columns than a block, in the same order.
template <typename T>
void extend_columns(const Columns<T>& at, index_t count) {
  const index_t j = at.j;
  T* last = at.q + j * at.ld;
  for (index_t i = 0; i < count; ++i) {
    double x = widen(at.v[i]) * at.before[j], r = widen(at.w[i]) * at.after[j + 1];
    for (index_t k = 0; k < j; ++k) {
      x = mul_add(at.q[k * at.ld + i], at.before[k], x);
      r = mul_add(at.q[k * at.ld + i], at.after[k], r);
    }
    last[i] = static_cast<T>(x);
    at.v[i] = static_cast<T>(mul_add(last[i], at.after[j], r));
  }
  for (index_t k = 0; k <= j + 1; ++k) {
    const T* row = k <= j ? at.q + k * at.ld : at.v;
    for (index_t i = 0; i < count; ++i) {
      double& sum = at.chains[k * kChains + i % kChains];
      sum = mul_add(row[i], at.v[i], sum);
    }
  }
}

/// One slab; partial[k] gets the sums over it.
template <typename T>
void extend_slab(Columns<T> at, index_t count,
                 double* partial  // [j + 2]
) {
  for (index_t e = 0; e < (at.j + 2) * kChains; ++e) at.chains[e] = 0;
  for (; count >= kBlock; count -= kBlock) {
    combine_block(at);
    dot_block(at);
    at.q += kBlock;
    at.v += kBlock;
    at.w += kBlock;
  }
  if (count > 0) extend_columns(at, count);
  for (index_t k = 0; k <= at.j + 1; ++k) {
    double sum[kChains];
    for (int lane = 0; lane < kChains; ++lane) sum[lane] = at.chains[k * kChains + lane];
    partial[k] = add_chains(sum);
  }
}

}  // namespace

template <typename T>
void extend_basis(const Context& ctx, BatchView<T> q, MatrixView<T> v, MatrixView<const T> w,
                  MatrixView<const double> before, MatrixView<const double> after,
                  MatrixView<double> d) {
  const index_t n = q.cols, j = q.rows - 1, sums = j + 2;
  const SlabTasks tasks{.rows = q.batch, .n = n};
  auto workspace = ctx.workspace;
  double* partial = carve<double>(workspace, tasks.slabs() * q.batch * sums);  // [slabs, B, sums]
  double* chains =  // [tasks, sums, kChains]
      carve<double>(workspace, tasks.tasks_per_row() * q.batch * sums * kChains);

  for_each_task(ctx, tasks, q.batch * sums * n, [&](index_t b, index_t first, index_t last) {
    const index_t task = b * tasks.tasks_per_row() + first / tasks.slabs_per_task();
    for (index_t s = first; s < last; ++s) {
      const index_t begin = s * kSlab, count = kSlab < n - begin ? kSlab : n - begin;
      const Columns<T> at{.q = q.matrix(b).data + begin,
                          .ld = q.ld,
                          .j = j,
                          .v = v.row(b) + begin,
                          .w = w.row(b) + begin,
                          .before = before.row(b),
                          .after = after.row(b),
                          .chains = chains + task * sums * kChains};
      extend_slab(at, count, partial + (s * q.batch + b) * sums);
    }
  });

  for (index_t b = 0; b < q.batch; ++b) {
    for (index_t k = 0; k < sums; ++k) {
      double sum = d.row(b)[k];
      for (index_t s = 0; s < tasks.slabs(); ++s) sum += partial[(s * q.batch + b) * sums + k];
      d.row(b)[k] = sum;
    }
  }
}

HESSCOPE_INSTANTIATE_EXTEND_BASIS(float)
HESSCOPE_INSTANTIATE_EXTEND_BASIS(double)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
