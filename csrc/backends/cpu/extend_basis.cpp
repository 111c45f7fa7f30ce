#include "backends/cpu/slab_tasks.h"
#include "kernels/extend_basis_kernels.h"
#include "kernels/workspace.h"
#include "math/accumulate.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

// Columns that all rows take part with before the next ones: at 100 rows of float32 they are 26 KB,
// so that the second reading, for the dot products, comes from the first-level cache.
constexpr index_t kBlock = 64;
static_assert(kBlock % kChains == 0 && kChains == kExtendBasisChains);

// Rows are megabytes apart, and there are more of them than hardware prefetching follows. Combining
// asks for half of the lines of a later block, the dot products for the others, so that memory is
// busy during both. Of 256 to 4096 bytes ahead this is the best measured, with 60 and 100 rows of
// 16 MB: 82 and 72 % of the speed of only reading them.
constexpr int kPrefetchBytes = 512, kLine = 64;
template <typename T>
constexpr int kLines = kBlock * static_cast<int>(sizeof(T)) / kLine;

/// Ask for lines `first` to `last` of what is kPrefetchBytes ahead.
template <typename T>
void prefetch_lines(const T* row, int first, int last) {
  for (int line = first; line < last; ++line) {
    __builtin_prefetch(reinterpret_cast<const char*>(row) + line * kLine + kPrefetchBytes);
  }
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

/// x to the last row, r to v. The compiler keeps both in registers: 16 of 8 numbers.
template <typename T>
void combine_block(const Columns<T>& at) {
  const index_t j = at.j;
  double x[kBlock], r[kBlock];
  for (index_t i = 0; i < kBlock; ++i) {
    x[i] = widen(at.v[i]) * at.before[j];
    r[i] = widen(at.w[i]) * at.after[j + 1];
  }
  for (index_t k = 0; k < j; ++k) {
    const T* row = at.q + k * at.ld;
    const double b = at.before[k], a = at.after[k];
    prefetch_lines(row, 0, kLines<T> / 2);
    for (index_t i = 0; i < kBlock; ++i) {
      const double y = widen(row[i]);
      x[i] = mul_add(y, b, x[i]);
      r[i] = mul_add(y, a, r[i]);
    }
  }
  T* last = at.q + j * at.ld;
  const double a = at.after[j];
  for (index_t i = 0; i < kBlock; ++i) last[i] = static_cast<T>(x[i]);
  for (index_t i = 0; i < kBlock; ++i) at.v[i] = static_cast<T>(mul_add(last[i], a, r[i]));
}

/// chains[k] += q_k * r, and the last += r * r.
template <typename T>
void dot_block(const Columns<T>& at) {
  double r[kBlock];
  for (index_t i = 0; i < kBlock; ++i) r[i] = widen(at.v[i]);
  for (index_t k = at.j + 1; k >= 0; --k) {  // the last rows are the likeliest to be in cache
    const T* row = k <= at.j ? at.q + k * at.ld : at.v;
    double* chains = at.chains + k * kChains;
    prefetch_lines(row, kLines<T> / 2, kLines<T>);
    double sum[kChains];
    for (int lane = 0; lane < kChains; ++lane) sum[lane] = chains[lane];
    for (index_t i = 0; i < kBlock; i += kChains) {
      for (int lane = 0; lane < kChains; ++lane) {
        sum[lane] = mul_add(row[i + lane], r[i + lane], sum[lane]);
      }
    }
    for (int lane = 0; lane < kChains; ++lane) chains[lane] = sum[lane];
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
