#include "backends/cpu/lanes.h"
#include "backends/cpu/parallel.h"
#include "kernels/contract3_kernels.h"

namespace hesscope::HESSCOPE_CPU_NAMESPACE {
namespace {

constexpr int kWidth = 8;  // rows that share a pass over the tensor, side by side in lanes
using Rows = Lanes<double, kWidth>;

// Multiplications below which waking a thread costs more than it saves.
constexpr index_t kSerialWork = index_t{1} << 17;

/// to[i] = entry i of rows [first, first + kWidth); lanes past the last row repeat row `first`.
void interleave(MatrixView<const double> x, index_t first, Rows* to  // [k]
) {
  for (int r = 0; r < kWidth; ++r) {
    const double* row = x.row(first + r < x.rows ? first + r : first);
    for (index_t i = 0; i < x.cols; ++i) set_lane(to[i], r, row[i]);
  }
}

void separate(const Rows* from,  // [k]
              index_t first, MatrixView<double> x) {
  for (int r = 0; r < kWidth && first + r < x.rows; ++r) {
    double* row = x.row(first + r);
    for (index_t i = 0; i < x.cols; ++i) row[i] = get_lane<double>(from[i], r);
  }
}

/// out[l] = sum_ij T[i, j, l] u[i] v[j]. Each stored entry is read once and goes to the three
/// places that its index names; on a diagonal two of them are one.
void contract(const double* t, index_t k, const Rows* u, const Rows* v, Rows* out) {
  for (index_t i = 0; i < k; ++i) out[i] = Rows{};
  for (index_t i = 0; i < k; ++i) {
    out[i] += *t++ * (u[i] * v[i]);
    {  // T[i, i, l], i < l
      const Rows square = u[i] * v[i];
      Rows cross = {};
      for (index_t l = i + 1; l < k; ++l, ++t) {
        out[l] += *t * square;
        cross += *t * (u[i] * v[l] + u[l] * v[i]);
      }
      out[i] += cross;
    }
    for (index_t j = i + 1; j < k; ++j) {
      const Rows pair = u[i] * v[j] + u[j] * v[i];
      out[i] += *t * (u[j] * v[j]);  // T[i, j, j]
      out[j] += *t++ * pair;
      Rows with_u = {}, with_v = {};
      for (index_t l = j + 1; l < k; ++l, ++t) {
        out[l] += *t * pair;
        with_u += *t * u[l];
        with_v += *t * v[l];
      }
      out[i] += u[j] * with_v + v[j] * with_u;
      out[j] += u[i] * with_v + v[i] * with_u;
    }
  }
}

void dot(const Rows* a, const Rows* b, index_t k, Rows& sum) {
  sum = Rows{};
  for (index_t i = 0; i < k; ++i) sum += a[i] * b[i];
}

void square_root(Rows& x) {
  for (int r = 0; r < kWidth; ++r) set_lane(x, r, __builtin_sqrt(get_lane<double>(x, r)));
}

/// x = y / |y|, except in the lanes where y vanishes.
void normalize(const Rows* y, index_t k, Rows* x) {
  Rows length;
  dot(y, y, k, length);
  square_root(length);
  for (index_t i = 0; i < k; ++i) x[i] = length != 0 ? y[i] / length : x[i];
}

template <typename F>
void for_each_group(const Context& ctx, index_t rows, index_t work, const F& f) {
  const int threads = work < kSerialWork ? 1 : ctx.num_threads;
  cpu::parallel_for(threads, ceil_div(rows, kWidth), [&](index_t task) { f(task * kWidth); });
}

void store(const Rows& from, index_t first, index_t rows, double* to  // [rows]
) {
  for (int r = 0; r < kWidth && first + r < rows; ++r) to[first + r] = get_lane<double>(from, r);
}

}  // namespace

void contract3(const Context& ctx, const double* t, MatrixView<const double> u,
               MatrixView<const double> v, MatrixView<double> out) {
  const index_t k = out.cols;
  for_each_group(ctx, out.rows, out.rows * packed_tensor_size(k), [&](index_t first) {
    Rows left[kLargestTensorSide], right[kLargestTensorSide], sum[kLargestTensorSide];
    interleave(u, first, left);
    interleave(v, first, right);
    contract(t, k, left, right, sum);
    separate(sum, first, out);
  });
}

void contract3_scalar(const Context& ctx, const double* t, MatrixView<const double> u,
                      MatrixView<const double> v, MatrixView<const double> w, double* out) {
  const index_t k = u.cols;
  for_each_group(ctx, u.rows, u.rows * packed_tensor_size(k), [&](index_t first) {
    Rows left[kLargestTensorSide], right[kLargestTensorSide], sum[kLargestTensorSide];
    interleave(u, first, left);
    interleave(v, first, right);
    contract(t, k, left, right, sum);
    interleave(w, first, left);
    Rows total;
    dot(sum, left, k, total);
    store(total, first, u.rows, out);
  });
}

void higher_order_power(const Context& ctx, const double* t, MatrixView<double> x, double shift,
                        index_t num_steps, double* value, double* residual) {
  const index_t k = x.cols;
  const index_t work = x.rows * packed_tensor_size(k) * (num_steps + 1);
  for_each_group(ctx, x.rows, work, [&](index_t first) {
    Rows at[kLargestTensorSide], y[kLargestTensorSide];
    interleave({x.data, x.rows, x.cols, x.ld}, first, at);
    for (index_t i = 0; i < k; ++i) y[i] = at[i];
    normalize(y, k, at);
    for (index_t step = 0; step < num_steps; ++step) {
      contract(t, k, at, at, y);
      for (index_t i = 0; i < k; ++i) y[i] += shift * at[i];
      normalize(y, k, at);
    }
    contract(t, k, at, at, y);
    Rows sum, rest;
    dot(y, at, k, sum);
    for (index_t i = 0; i < k; ++i) y[i] -= sum * at[i];
    dot(y, y, k, rest);
    square_root(rest);
    separate(at, first, x);
    store(sum, first, x.rows, value);
    store(rest, first, x.rows, residual);
  });
}

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
