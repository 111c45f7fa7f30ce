#pragma once

#include <initializer_list>
#include <string>

#include "hesscope/context.h"
#include "hesscope/error.h"
#include "hesscope/view.h"

namespace hesscope {

/// A tensor and its name in messages.
struct Named {
  const char* name;
  const TensorView& tensor;
};

/// "q [8, 1000] float32 cuda:0"
std::string describe(const char* name, const TensorView& tensor);

// Every check throws an error that names the op, the argument, what was expected and what came.

/// 1-D; elements may be strided.
void check_vector(const char* op, Named argument);

/// 2-D; elements of a row contiguous, rows at any non-negative stride.
void check_matrix(const char* op, Named argument);

/// As check_matrix, for tensors that are written: rows must not overlap.
void check_output_matrix(const char* op, Named argument);

/// 3-D; elements of a row contiguous; batch stride 0 is allowed.
void check_batch(const char* op, Named argument);

/// [rows] of float64, at any stride but 0: written, one number a recurrence.
void check_coefficients(const char* op, Named argument, index_t rows);

void check_shape(const char* op, Named argument, std::initializer_list<index_t> shape);
void check_dtype(const char* op, Named argument, std::initializer_list<DType> allowed);
void check_same_dtype(const char* op, std::initializer_list<Named> arguments);

/// On ctx.device, and that device one the backend works on.
void check_device(const char* op, const Context& ctx, std::initializer_list<Named> arguments);

/// As `first` in dtype and device, of this shape, contiguous.
void check_compact(const char* op, const Context& ctx, Named argument, Named first,
                   std::initializer_list<index_t> shape);

void check_workspace(const char* op, const Context& ctx, index_t bytes);

// Typed views of tensors that have been checked.

template <typename T>
VectorView<T> vector(const TensorView& t) {
  return {static_cast<T*>(t.data), t.shape[0], t.stride[0]};
}

template <typename T>
MatrixView<T> matrix(const TensorView& t) {
  return {static_cast<T*>(t.data), t.shape[0], t.shape[1], t.stride[0]};
}

template <typename T>
BatchView<T> batch(const TensorView& t) {
  return {static_cast<T*>(t.data), t.shape[0], t.shape[1], t.shape[2], t.stride[0], t.stride[1]};
}

}  // namespace hesscope
