#include "hesscope/tensor.h"

#include <algorithm>

#include "hesscope/error.h"

namespace hesscope {

Tensor::Tensor(Device device, DType dtype, std::initializer_list<index_t> shape) {
  view_.dtype = dtype;
  view_.device = device;
  view_.ndim = static_cast<int>(shape.size());
  HESSCOPE_CHECK(ShapeError, view_.ndim >= 1 && view_.ndim <= kMaxDims,
                 "Tensor: shape must have 1 to ", kMaxDims, " dimensions, got ", view_.ndim);
  std::copy(shape.begin(), shape.end(), view_.shape.begin());
  index_t elements = 1;
  for (int dim = view_.ndim - 1; dim >= 0; --dim) {
    view_.stride[dim] = elements;
    const bool row = dim == view_.ndim - 1 && dim > 0;
    elements *= row ? padded_row(view_.shape[dim]) : view_.shape[dim];
  }
  buffer_ = Buffer(device, elements * size_of(dtype));
  view_.data = buffer_.data();
}

TensorView select(const TensorView& t, int dim, index_t index) {
  TensorView entry = narrow(t, dim, index, 1);
  for (int d = dim; d + 1 < t.ndim; ++d) {
    entry.shape[d] = entry.shape[d + 1];
    entry.stride[d] = entry.stride[d + 1];
  }
  --entry.ndim;
  return entry;
}

TensorView narrow(const TensorView& t, int dim, index_t begin, index_t length) {
  const bool inside =
      dim >= 0 && dim < t.ndim && begin >= 0 && length >= 0 && begin + length <= t.shape[dim];
  HESSCOPE_CHECK(ShapeError, inside, "narrow: entries [", begin, ", ", begin + length,
                 ") must lie in dimension ", dim, " of the tensor");
  TensorView part = t;
  part.shape[dim] = length;
  part.data = static_cast<std::byte*>(t.data) + begin * t.stride[dim] * size_of(t.dtype);
  return part;
}

void copy(const Context& ctx, const TensorView& source, const TensorView& target) {
  HESSCOPE_CHECK(DTypeError, source.dtype == target.dtype,
                 "copy: source and target must have one dtype");
  const bool same_shape =
      source.ndim == target.ndim && source.ndim >= 1 &&
      std::equal(source.shape.begin(), source.shape.begin() + source.ndim, target.shape.begin());
  HESSCOPE_CHECK(ShapeError, same_shape, "copy: source and target must have one shape");
  if (source.ndim > 1) {
    for (index_t i = 0; i < source.shape[0]; ++i)
      copy(ctx, select(source, 0, i), select(target, 0, i));
    return;
  }
  const bool contiguous = source.shape[0] <= 1 || (source.stride[0] == 1 && target.stride[0] == 1);
  HESSCOPE_CHECK(ShapeError, contiguous, "copy: rows must be contiguous");
  copy_bytes(ctx, target.device, target.data, source.device, source.data,
             source.shape[0] * size_of(source.dtype));
}

Tensor to_device(const Context& ctx, const TensorView& source, Device device) {
  const auto make = [&] {
    switch (source.ndim) {
      case 1:
        return Tensor(device, source.dtype, {source.shape[0]});
      case 2:
        return Tensor(device, source.dtype, {source.shape[0], source.shape[1]});
      case 3:
        return Tensor(device, source.dtype, {source.shape[0], source.shape[1], source.shape[2]});
      default:
        fail<ShapeError>("to_device: source must have 1 to 3 dimensions, got ", source.ndim);
    }
  };
  Tensor target = make();
  copy(ctx, source, target);
  return target;
}

}  // namespace hesscope
