#pragma once

// The part of the DLPack ABI (version 1.3) that reading a tensor needs. Layouts are fixed by the
// standard: github.com/dmlc/dlpack, include/dlpack/dlpack.h.

#include <cstdint>

namespace hesscope::dlpack {

enum DeviceCode : std::int32_t { kCpu = 1, kCuda = 2, kCudaHost = 3, kCudaManaged = 13 };
enum TypeCode : std::uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4 };

struct Device {
  std::int32_t type;
  std::int32_t index;
};

struct Type {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  Type dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null means compact and row-major
  std::uint64_t byte_offset;
};

/// What a capsule named "dltensor" points to.
struct ManagedTensor {
  Tensor tensor;
  void* manager_context;
  void (*deleter)(ManagedTensor*);
};

struct Version {
  std::uint32_t major, minor;
};

/// What `type(tensor).__dlpack_c_exchange_api__`, a capsule named "dlpack_exchange_api", points to.
/// Only borrowing a view is used here; the other entries keep the layout.
struct ExchangeApi {
  Version version;
  ExchangeApi* previous;
  void* allocate;
  void* from_object;
  void* to_object;
  int (*borrow)(void* object, Tensor* out);  // 0, or -1 with a Python error set; no synchronisation
  void* current_work_stream;
};

}  // namespace hesscope::dlpack
