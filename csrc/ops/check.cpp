#include "ops/check.h"

#include <algorithm>
#include <cstdint>

#include "kernels/workspace.h"

namespace hesscope {
namespace {

std::string bracketed(const index_t* values, int count) {
  std::ostringstream text;
  text << '[';
  for (int i = 0; i < count; ++i) text << (i == 0 ? "" : ", ") << values[i];
  text << ']';
  return text.str();
}

void check_ndim(const char* op, const Named& argument, int ndim) {
  HESSCOPE_CHECK(ShapeError, argument.tensor.ndim == ndim, op, ": ", argument.name, " must have ",
                 ndim, ndim == 1 ? " dimension" : " dimensions", ", got ",
                 describe(argument.name, argument.tensor));
}

void check_rows_contiguous(const char* op, const Named& argument) {
  const TensorView& t = argument.tensor;
  const int last = t.ndim - 1;
  HESSCOPE_CHECK(ShapeError, t.stride[last] == 1 || t.shape[last] <= 1, op, ": ", argument.name,
                 " must have contiguous rows (stride 1 in its last dimension), got ",
                 describe(argument.name, t), " with strides ", bracketed(t.stride.data(), t.ndim));
}

}  // namespace

std::string describe(const char* name, const TensorView& tensor) {
  std::ostringstream text;
  text << name << ' ' << bracketed(tensor.shape.data(), tensor.ndim) << ' ' << name_of(tensor.dtype)
       << (tensor.device.type == DeviceType::cpu ? " cpu" : " cuda:");
  if (tensor.device.type == DeviceType::cuda) text << tensor.device.index;
  return text.str();
}

void check_vector(const char* op, Named argument) { check_ndim(op, argument, 1); }

void check_matrix(const char* op, Named argument) {
  check_ndim(op, argument, 2);
  check_rows_contiguous(op, argument);
}

void check_output_matrix(const char* op, Named argument) {
  check_matrix(op, argument);
  const TensorView& t = argument.tensor;
  HESSCOPE_CHECK(ShapeError, t.shape[0] <= 1 || t.stride[0] >= t.shape[1], op, ": rows of ",
                 argument.name, " must not overlap, got ", describe(argument.name, t),
                 " with strides ", bracketed(t.stride.data(), t.ndim));
}

void check_batch(const char* op, Named argument) {
  check_ndim(op, argument, 3);
  check_rows_contiguous(op, argument);
}

void check_coefficients(const char* op, Named argument, index_t rows) {
  const TensorView& t = argument.tensor;
  check_vector(op, argument);
  check_dtype(op, argument, {DType::f64});
  check_shape(op, argument, {rows});
  HESSCOPE_CHECK(ShapeError, rows <= 1 || t.stride[0] != 0, op, ": elements of ", argument.name,
                 " must not overlap, got ", describe(argument.name, t), " with stride 0");
}

void check_shape(const char* op, Named argument, std::initializer_list<index_t> shape) {
  const TensorView& t = argument.tensor;
  const bool same = t.ndim == static_cast<int>(shape.size()) &&
                    std::equal(shape.begin(), shape.end(), t.shape.begin());
  HESSCOPE_CHECK(ShapeError, same, op, ": ", argument.name, " must have shape ",
                 bracketed(shape.begin(), static_cast<int>(shape.size())), ", got ",
                 describe(argument.name, t));
}

void check_dtype(const char* op, Named argument, std::initializer_list<DType> allowed) {
  if (std::find(allowed.begin(), allowed.end(), argument.tensor.dtype) != allowed.end()) return;
  std::ostringstream text;
  for (const DType* dtype = allowed.begin(); dtype != allowed.end(); ++dtype) {
    text << (dtype == allowed.begin() ? "" : " or ") << name_of(*dtype);
  }
  fail<DTypeError>(op, ": ", argument.name, " must be ", text.str(), ", got ",
                   describe(argument.name, argument.tensor));
}

void check_same_dtype(const char* op, std::initializer_list<Named> arguments) {
  const Named& first = *arguments.begin();
  for (const Named& other : arguments) {
    HESSCOPE_CHECK(DTypeError, other.tensor.dtype == first.tensor.dtype, op, ": ", other.name,
                   " must have the dtype of ", first.name, ", got ",
                   describe(first.name, first.tensor), " and ", describe(other.name, other.tensor));
  }
}

void check_device(const char* op, const Context& ctx, std::initializer_list<Named> arguments) {
#if defined(HESSCOPE_CUDA_EMULATED)
  const bool cuda_tensors = false;
#else
  const bool cuda_tensors = ctx.backend == Backend::cuda;
#endif
  for (const Named& argument : arguments) {
    const Device& device = argument.tensor.device;
    HESSCOPE_CHECK(DeviceError, (device.type == DeviceType::cuda) == cuda_tensors, op, ": ",
                   argument.name, " must be on the ", cuda_tensors ? "GPU" : "CPU",
                   " for the backend that was asked for, got ",
                   describe(argument.name, argument.tensor));
    HESSCOPE_CHECK(DeviceError, device == ctx.device, op, ": ", argument.name,
                   " must be on the device of the other arguments, got ",
                   describe(argument.name, argument.tensor));
  }
}

void check_compact(const char* op, const Context& ctx, Named argument, Named first,
                   std::initializer_list<index_t> shape) {
  const TensorView& t = argument.tensor;
  check_shape(op, argument, shape);
  index_t compact = 1;
  for (int d = t.ndim - 1; d >= 0; --d) {
    HESSCOPE_CHECK(ShapeError, t.shape[d] <= 1 || t.stride[d] == compact, op, ": ", argument.name,
                   " must be contiguous, got ", describe(argument.name, t), " with stride ",
                   t.stride[d], " in dimension ", d);
    compact *= t.shape[d] > 0 ? t.shape[d] : 1;
  }
  check_same_dtype(op, {first, argument});
  check_device(op, ctx, {first, argument});
}

void check_workspace(const char* op, const Context& ctx, index_t bytes) {
  HESSCOPE_CHECK(WorkspaceError, static_cast<index_t>(ctx.workspace.size()) >= bytes, op,
                 ": the workspace must have at least ", bytes, " bytes, got ",
                 ctx.workspace.size());
  HESSCOPE_CHECK(WorkspaceError,
                 reinterpret_cast<std::uintptr_t>(ctx.workspace.data()) % kWorkspaceAlignment == 0,
                 op, ": the workspace must be aligned to ", kWorkspaceAlignment, " bytes");
}

}  // namespace hesscope
