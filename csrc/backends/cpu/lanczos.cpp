#include "math/lanczos.h"

#include "backends/cpu/slab_tasks.h"
#include "hesscope/lanczos.h"
#include "kernels/lanczos_kernels.h"
#include "kernels/workspace.h"
#include "math/accumulate.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

/// One row's part of every operand.
template <typename T>
struct Operands {
  const T* w;       // [count]
  const T* v;       // [count]
  const T* v_prev;  // [count], not read in the first step
  T* next;          // [count], may be v_prev
};

/// sum_i v[i] * r[i].
template <bool kFirst, typename T>
double alpha_range(const LanczosRow& row, const Operands<T>& x, index_t count) {
  double sum[kChains] = {};
  const auto add = [&](index_t i, int lane) {
    const double r = lanczos_residual(row, x.w[i], kFirst ? T(0) : x.v_prev[i]);
    sum[lane] = mul_add(x.v[i], r, sum[lane]);
  };
  index_t i = 0;
  for (; i + kChains <= count; i += kChains) {
    for (int lane = 0; lane < kChains; ++lane) add(i + lane, lane);
  }
  for (int lane = 0; i + lane < count; ++lane) add(i + lane, lane);
  return add_chains(sum);
}

/// next[i] = r[i] - shift * v[i], rounded once; returns the sum of its squares. A block is computed
/// before it is stored, since next may be v_prev.
template <bool kFirst, typename T>
double next_range(const LanczosRow& row, double shift, const Operands<T>& x, index_t count) {
  double sum[kChains] = {};
  T block[kChains];
  const auto element = [&](index_t i) {
    const double r = lanczos_residual(row, x.w[i], kFirst ? T(0) : x.v_prev[i]);
    return static_cast<T>(r - shift * widen(x.v[i]));
  };
  index_t i = 0;
  for (; i + kChains <= count; i += kChains) {
    for (int lane = 0; lane < kChains; ++lane) block[lane] = element(i + lane);
    for (int lane = 0; lane < kChains; ++lane) x.next[i + lane] = block[lane];
    for (int lane = 0; lane < kChains; ++lane) {
      sum[lane] = mul_add(block[lane], block[lane], sum[lane]);
    }
  }
  for (int lane = 0; i + lane < count; ++lane) {
    const T value = element(i + lane);
    x.next[i + lane] = value;
    sum[lane] = mul_add(value, value, sum[lane]);
  }
  return add_chains(sum);
}

template <typename T>
void clear(T* to,  // [count]
           index_t count) {
  for (index_t i = 0; i < count; ++i) to[i] = 0;
}

/// Sums of slabs in slab order.
double add_slabs(const double* partial,  // [slabs]
                 index_t slabs) {
  double sum = 0;
  for (index_t s = 0; s < slabs; ++s) sum += partial[s];
  return sum;
}

/// Calls f(row, slab) for every slab of every row, on the threads of the context.
template <typename F>
void for_each_slab(const Context& ctx, index_t rows, index_t n, const F& f) {
  for_each_task(ctx, {.rows = rows, .n = n}, rows * n, [&](index_t k, index_t first, index_t last) {
    for (index_t s = first; s < last; ++s) f(k, s);
  });
}

}  // namespace

template <typename T>
void lanczos_update(const Context& ctx, MatrixView<const T> w, MatrixView<const T> v,
                    MatrixView<const T> v_prev, MatrixView<T> next, MatrixView<double> state,
                    VectorView<double> alpha, VectorView<double> beta, double breakdown_tolerance) {
  const index_t n = w.cols, slabs = num_slabs(n);
  auto workspace = ctx.workspace;
  double* partial = carve<double>(workspace, w.rows * slabs);  // [K, slabs]
  const auto operands = [&](index_t k, index_t begin) {
    return Operands<T>{w.row(k) + begin, v.row(k) + begin, v_prev.row(k) + begin,
                       next.row(k) + begin};
  };
  const auto size = [&](index_t s) { return n - s * kSlab < kSlab ? n - s * kSlab : kSlab; };

  for_each_slab(ctx, w.rows, n, [&](index_t k, index_t s) {
    const LanczosRow row = lanczos_row(lanczos_read(state.row(k)));
    if (row.frozen) return;
    const Operands<T> x = operands(k, s * kSlab);
    partial[k * slabs + s] =
        row.first ? alpha_range<true>(row, x, size(s)) : alpha_range<false>(row, x, size(s));
  });
  for (index_t k = 0; k < w.rows; ++k) {
    const LanczosRow row = lanczos_row(lanczos_read(state.row(k)));
    alpha[k] = row.frozen ? 0.0 : row.scale * add_slabs(partial + k * slabs, slabs);
  }

  for_each_slab(ctx, w.rows, n, [&](index_t k, index_t s) {
    const LanczosRow row = lanczos_row(lanczos_read(state.row(k)));
    const Operands<T> x = operands(k, s * kSlab);
    if (row.frozen) return clear(x.next, size(s));
    const double shift = alpha[k] * row.scale;
    partial[k * slabs + s] = row.first ? next_range<true>(row, shift, x, size(s))
                                       : next_range<false>(row, shift, x, size(s));
  });
  for (index_t k = 0; k < w.rows; ++k) {
    beta[k] = 0;
    LanczosRecord record = lanczos_read(state.row(k));
    if (record.scale == 0) continue;
    beta[k] = lanczos_advance(record, alpha[k], add_slabs(partial + k * slabs, slabs),
                              breakdown_tolerance);
    lanczos_write(record, state.row(k));
    if (beta[k] == 0) clear(next.row(k), n);
  }
}

HESSCOPE_INSTANTIATE_LANCZOS(float)
HESSCOPE_INSTANTIATE_LANCZOS(double)

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
