#include "bindings/tensor_caster.h"

#include <string>

#include "bindings/dlpack_abi.h"

namespace py = pybind11;

namespace hesscope {
namespace {

DType to_dtype(const dlpack::Type& type) {
  if (type.lanes == 1) {
    if (type.code == dlpack::kFloat && type.bits == 32) return DType::f32;
    if (type.code == dlpack::kFloat && type.bits == 64) return DType::f64;
    if (type.code == dlpack::kBfloat && type.bits == 16) return DType::bf16;
    if (type.code == dlpack::kInt && type.bits == 32) return DType::i32;
    if (type.code == dlpack::kInt && type.bits == 64) return DType::i64;
    if (type.code == dlpack::kUInt && type.bits == 8) return DType::u8;
  }
  throw py::type_error(
      "tensors must be bfloat16, float32, float64, int32, int64 or uint8, got DLPack type code " +
      std::to_string(type.code) + " with " + std::to_string(type.bits) + " bits");
}

Device to_device(const dlpack::Device& device) {
  switch (device.type) {
    case dlpack::kCpu:
    case dlpack::kCudaHost:
      return {DeviceType::cpu, 0};
    case dlpack::kCuda:
    case dlpack::kCudaManaged:
      return {DeviceType::cuda, device.index};
    default:
      throw py::type_error("tensors must be on a CPU or a CUDA device, got DLPack device type " +
                           std::to_string(device.type));
  }
}

TensorView to_view(const dlpack::Tensor& tensor) {
  if (tensor.ndim > kMaxDims) {
    throw py::type_error("tensors must have at most " + std::to_string(kMaxDims) +
                         " dimensions, got " + std::to_string(tensor.ndim));
  }
  TensorView view;
  view.data = static_cast<std::byte*>(tensor.data) + tensor.byte_offset;
  view.dtype = to_dtype(tensor.dtype);
  view.device = to_device(tensor.device);
  view.ndim = tensor.ndim;
  index_t compact = 1;
  for (int i = tensor.ndim - 1; i >= 0; --i) {
    view.shape[i] = tensor.shape[i];
    view.stride[i] = tensor.strides == nullptr ? compact : tensor.strides[i];
    compact *= tensor.shape[i];
  }
  return view;
}

/// The exchange table of the object's type (DLPack 1.3; torch has it from 2.13), or null.
/// It is looked up once per type in a row: a call has several tensors of one type.
const dlpack::ExchangeApi* exchange_api(py::handle source) {
  static PyTypeObject* last_type = nullptr;
  static const dlpack::ExchangeApi* last_api = nullptr;
  PyTypeObject* type = Py_TYPE(source.ptr());
  if (type == last_type) return last_api;
  const py::object capsule = py::getattr(py::handle(reinterpret_cast<PyObject*>(type)),
                                         "__dlpack_c_exchange_api__", py::none());
  last_api = capsule.is_none() ? nullptr
                               : static_cast<const dlpack::ExchangeApi*>(
                                     PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
  if (last_api != nullptr && (last_api->version.major != 1 || last_api->borrow == nullptr)) {
    last_api = nullptr;
  }
  last_type = type;
  return last_api;
}

}  // namespace

bool borrow_tensor(py::handle source, TensorView& view, py::object& owner) {
  if (const dlpack::ExchangeApi* api = exchange_api(source); api != nullptr) {
    dlpack::Tensor tensor;
    if (api->borrow(source.ptr(), &tensor) != 0) throw py::error_already_set();
    view = to_view(tensor);
    owner = py::reinterpret_borrow<py::object>(source);
    return true;
  }
  if (!py::hasattr(source, "__dlpack__")) return false;
  const auto device = source.attr("__dlpack_device__")().cast<std::pair<int, int>>();
  // -1 asks a GPU producer not to synchronise: ops run on the caller's stream. A CPU one takes
  // None.
  const py::object stream = device.first == dlpack::kCuda ? py::object(py::int_(-1)) : py::none();
  owner = source.attr("__dlpack__")(py::arg("stream") = stream);
  auto* managed =
      static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(owner.ptr(), "dltensor"));
  if (managed == nullptr) throw py::error_already_set();
  view = to_view(managed->tensor);  // the capsule, not consumed, frees the tensor after the call
  return true;
}

}  // namespace hesscope
