#include "data.h"

#include <bit>
#include <cmath>
#include <limits>

#include "hesscope/error.h"

namespace hesscope::bench {
namespace {

/// The upper half of a float, rounded to nearest even.
bfloat16 to_bfloat16(float x) {
  if (std::isnan(x)) return {0x7fc0};
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return {static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

}  // namespace

std::uint64_t Random::bits() {
  std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

double element(const TensorView& row, index_t i) {
  const index_t at = i * row.stride[0];
  switch (row.dtype) {
    case DType::f32:
      return static_cast<const float*>(row.data)[at];
    case DType::f64:
      return static_cast<const double*>(row.data)[at];
    case DType::bf16: {
      const std::uint32_t bits = static_cast<const bfloat16*>(row.data)[at].bits;
      return std::bit_cast<float>(bits << 16);
    }
    case DType::i32:
      return static_cast<const std::int32_t*>(row.data)[at];
    case DType::i64:
      return static_cast<double>(static_cast<const std::int64_t*>(row.data)[at]);
    case DType::u8:
      return static_cast<const std::uint8_t*>(row.data)[at];
  }
  return NAN;
}

void set_element(const TensorView& row, index_t i, double value) {
  const index_t at = i * row.stride[0];
  switch (row.dtype) {
    case DType::f32:
      static_cast<float*>(row.data)[at] = static_cast<float>(value);
      return;
    case DType::f64:
      static_cast<double*>(row.data)[at] = value;
      return;
    case DType::bf16:
      static_cast<bfloat16*>(row.data)[at] = to_bfloat16(static_cast<float>(value));
      return;
    case DType::i64:
      static_cast<std::int64_t*>(row.data)[at] = static_cast<std::int64_t>(value);
      return;
    default:
      fail<DTypeError>("set_element: the row must be float32, float64, bfloat16 or int64");
  }
}

void for_each_row(const TensorView& t, const std::function<void(const TensorView&)>& f) {
  if (t.ndim == 1) return f(t);
  for (index_t i = 0; i < t.shape[0]; ++i) for_each_row(select(t, 0, i), f);
}

void fill_random(const TensorView& t, std::uint64_t seed) {
  Random random(seed);
  for_each_row(t, [&](const TensorView& row) {
    for (index_t i = 0; i < row.shape[0]; ++i) set_element(row, i, random.uniform());
  });
}

void fill(const TensorView& t, double value) {
  for_each_row(t, [&](const TensorView& row) {
    for (index_t i = 0; i < row.shape[0]; ++i) set_element(row, i, value);
  });
}

Tensor random_tensor(DType dtype, std::initializer_list<index_t> shape, std::uint64_t seed) {
  Tensor t({}, dtype, shape);
  fill_random(t, seed);
  return t;
}

std::vector<Tensor> device_sets(const Context& ctx, const TensorView& host, int num_sets) {
  std::vector<Tensor> sets;
  for (int i = 0; i < num_sets; ++i) sets.push_back(to_device(ctx, host, ctx.device));
  return sets;
}

Tensor poisoned(const Context& ctx, DType dtype, std::initializer_list<index_t> shape) {
  const Tensor host({}, dtype, shape);
  fill(host, dtype == DType::i64 ? -1 : std::numeric_limits<double>::quiet_NaN());
  return to_device(ctx, host, ctx.device);
}

Tensor to_host(const Context& ctx, const TensorView& t) { return to_device(ctx, t, {}); }

double worst_ratio(const TensorView& got, const TensorView& want,
                   const std::function<double(index_t row, index_t i)>& bound) {
  double worst = 0;
  const index_t rows = got.ndim == 1 ? 1 : got.shape[0];
  for (index_t r = 0; r < rows; ++r) {
    const TensorView a = got.ndim == 1 ? got : select(got, 0, r);
    const TensorView b = want.ndim == 1 ? want : select(want, 0, r);
    for (index_t i = 0; i < a.shape[0]; ++i) {
      const double error = std::abs(element(a, i) - element(b, i));
      const double ratio = error == 0 ? 0 : error / bound(r, i);
      worst = std::isfinite(ratio) ? worse(worst, ratio) : std::numeric_limits<double>::infinity();
    }
  }
  return worst;
}

double worse(double a, double b) { return std::isnan(a) || a > b ? a : b; }

double epsilon(DType dtype) {
  return dtype == DType::f64 ? std::numeric_limits<double>::epsilon()
                             : std::numeric_limits<float>::epsilon();
}

}  // namespace hesscope::bench
