#pragma once

#include <array>

#include "hesscope/types.h"

namespace hesscope {

inline constexpr int kMaxDims = 4;

/// A borrowed tensor of any dtype on any device: what crosses the library boundary.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::f32;
  Device device;
  int ndim = 0;
  std::array<index_t, kMaxDims> shape{};
  std::array<index_t, kMaxDims> stride{};  // in elements
};

/// Borrowed and typed. Elements may be strided: a column of a matrix is a vector.
template <typename T>
struct VectorView {
  T* data;
  index_t size;
  index_t stride = 1;  // in elements

  constexpr T& operator[](index_t i) const { return data[i * stride]; }
};

/// Row-major; elements of a row are contiguous, rows may be padded (ld >= cols) or shared (ld ==
/// 0).
template <typename T>
struct MatrixView {
  T* data;
  index_t rows, cols, ld;

  constexpr T* row(index_t i) const { return data + i * ld; }
};

/// A batch of row-major matrices. `batch_stride == 0` is one matrix shared by the whole batch.
template <typename T>
struct BatchView {
  T* data;
  index_t batch, rows, cols, batch_stride, ld;

  constexpr MatrixView<T> matrix(index_t b) const {
    return {data + b * batch_stride, rows, cols, ld};
  }
};

}  // namespace hesscope
