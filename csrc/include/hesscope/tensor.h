#pragma once

#include <initializer_list>

#include "hesscope/buffer.h"
#include "hesscope/view.h"

namespace hesscope {

/// Rows of our own buffers start at multiples of this many elements, so that every row is aligned.
inline constexpr index_t kRowAlignment = 32;

constexpr index_t padded_row(index_t n) {
  return (n + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
}

template <typename T>
inline constexpr DType dtype_of = DType::u8;
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<double> = DType::f64;
template <>
inline constexpr DType dtype_of<bfloat16> = DType::bf16;
template <>
inline constexpr DType dtype_of<std::int32_t> = DType::i32;
template <>
inline constexpr DType dtype_of<std::int64_t> = DType::i64;

/// A tensor that owns its memory, uninitialised. Rows (the last dimension) are contiguous; where
/// there is more than one dimension they are padded to kRowAlignment elements.
class Tensor {
 public:
  Tensor() = default;
  Tensor(Device device, DType dtype, std::initializer_list<index_t> shape);

  const TensorView& view() const { return view_; }
  operator const TensorView&() const { return view_; }

  /// The first element. The caller knows the dtype, and that the data is on the host.
  template <typename T>
  T* data() const {
    return static_cast<T*>(view_.data);
  }
  /// Row i of a matrix, likewise.
  template <typename T>
  T* row(index_t i) const {
    return data<T>() + i * view_.stride[0];
  }

 private:
  Buffer buffer_;
  TensorView view_;
};

/// Entry `index` of the dimension `dim`, which goes away.
TensorView select(const TensorView& t, int dim, index_t index);

/// Entries [begin, begin + length) of the dimension `dim`.
TensorView narrow(const TensorView& t, int dim, index_t begin, index_t length);

/// Copy a tensor into another of the same shape and dtype, rows contiguous on both sides, on any
/// devices; ordered as copy_bytes. Throws ShapeError or DTypeError.
void copy(const Context& ctx, const TensorView& source, const TensorView& target);

/// A copy on another device.
Tensor to_device(const Context& ctx, const TensorView& source, Device device);

}  // namespace hesscope
