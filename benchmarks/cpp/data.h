#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "bench.h"
#include "hesscope/tensor.h"

namespace hesscope::bench {

/// Uniform in [-1, 1): the same numbers on every machine (splitmix64; Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits();
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-52 - 1; }

 private:
  std::uint64_t state_;
};

/// Element i of a row on the host, widened.
double element(const TensorView& row, index_t i);

/// Round a value into element i of a row on the host.
void set_element(const TensorView& row, index_t i, double value);

/// Call f(row) for every row of a tensor of one, two or three dimensions.
void for_each_row(const TensorView& t, const std::function<void(const TensorView&)>& f);

/// Fill a host tensor with uniform numbers in [-1, 1), or with one value.
void fill_random(const TensorView& t, std::uint64_t seed);
void fill(const TensorView& t, double value);

/// A host tensor of uniform numbers.
Tensor random_tensor(DType dtype, std::initializer_list<index_t> shape, std::uint64_t seed);

/// Copies of a host tensor on the device of the context, one per set.
std::vector<Tensor> device_sets(const Context& ctx, const TensorView& host, int num_sets);

/// An output on the device of the context, filled with NaN (-1 for integers): an op that forgets an
/// element is found out.
Tensor poisoned(const Context& ctx, DType dtype, std::initializer_list<index_t> shape);

/// A copy on the host of a tensor on any device.
Tensor to_host(const Context& ctx, const TensorView& t);

/// Largest |got - want| / bound; 0 / 0 counts as 0, anything not finite as infinite. All on the
/// host, of one shape [rows, n] or [n].
double worst_ratio(const TensorView& got, const TensorView& want,
                   const std::function<double(index_t row, index_t i)>& bound);

/// Larger of a and b, NaN if either is: std::max would lose it.
double worse(double a, double b);

/// Unit in the last place of 1: 2^-23 or 2^-52.
double epsilon(DType dtype);

}  // namespace hesscope::bench
