#pragma once

#include <cstddef>
#include <limits>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>

#include "backends/cuda/check.h"
#include "backends/cuda/device/portable.cuh"
#include "hesscope/context.h"
#include "hesscope/error.h"
#include "kernels/slab.h"  // ceil_div

namespace hesscope::cuda {

/// The stream an op orders all its work on.
inline cudaStream_t stream_of(const Context& ctx) { return static_cast<cudaStream_t>(ctx.stream); }

/// Makes a device current, and the previous one again at the end of the scope.
class ScopedDevice {
 public:
  explicit ScopedDevice(Device device) {
    HESSCOPE_CUDA_CHECK(cudaGetDevice(&previous_));
    changed_ = device.index != previous_;
    if (changed_) HESSCOPE_CUDA_CHECK(cudaSetDevice(device.index));
  }
  ScopedDevice(const ScopedDevice&) = delete;
  ScopedDevice& operator=(const ScopedDevice&) = delete;
  ~ScopedDevice() {
    if (changed_) static_cast<void>(cudaSetDevice(previous_));  // a destructor cannot report
  }

 private:
  int previous_ = 0;
  bool changed_ = false;
};

inline constexpr index_t kMaxGridX = std::numeric_limits<int>::max();
inline constexpr index_t kMaxGridYZ = 65535;

/// A grid of x * y * z blocks. Throws ShapeError outside the limits of the hardware; an empty
/// problem is the caller's to return from, before a launch.
inline dim3 make_grid(index_t x, index_t y = 1, index_t z = 1) {
  const bool fits =
      x >= 1 && x <= kMaxGridX && y >= 1 && y <= kMaxGridYZ && z >= 1 && z <= kMaxGridYZ;
  HESSCOPE_CHECK(ShapeError, fits, "make_grid: blocks must be in [1, ", kMaxGridX, "] x [1, ",
                 kMaxGridYZ, "] x [1, ", kMaxGridYZ, "], got ", x, " x ", y, " x ", z);
  return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z));
}

/// A number of blocks, and the line that launches them: made by conversion in the call of `launch`.
struct Grid {
  dim3 blocks;
  std::source_location where;

  template <typename Size>
    requires std::is_convertible_v<Size, dim3>
  Grid(Size size, std::source_location line = std::source_location::current())
      : blocks(size), where(line) {}
};

/// Dynamic shared memory up to this many bytes needs no opting in.
inline constexpr std::size_t kDefaultDynamicShared = 48 * 1024;

namespace detail {

/// "void multi_dot() [with Q = float] (orthogonalize.cu:118)": where a launch stands, without
/// folders.
inline std::string describe(const std::source_location& where) {
  const std::string_view path = where.file_name();
  const std::string file(path.substr(path.find_last_of('/') + 1));  // npos + 1 is the whole path
  return std::string(where.function_name()) + " (" + file + ":" + std::to_string(where.line()) +
         ")";
}

#if defined(__CUDACC__)
/// The mangled name, as profilers print it; without a driver the runtime knows none.
inline const char* kernel_name(const void* kernel) {
  const char* name = nullptr;
  return cudaFuncGetName(&name, kernel) == cudaSuccess ? name : "a kernel";
}
#endif

}  // namespace detail

/// Launch `kernel(arguments...)` on `stream`: the only way a kernel is started. Throws CudaError,
/// with the kernel and the line of the launch in its text, if the launch fails; on a device an
/// earlier asynchronous error may be reported here too. Does not synchronise.
template <typename... Parameters>
void launch(void (*kernel)(Parameters...), Grid grid, dim3 block, std::size_t dynamic_shared_bytes,
            cudaStream_t stream, std::type_identity_t<Parameters>... arguments) {
#if defined(__CUDACC__)
  const void* symbol = reinterpret_cast<const void*>(kernel);
  if (dynamic_shared_bytes > kDefaultDynamicShared) {
    HESSCOPE_CUDA_CHECK(cudaFuncSetAttribute(symbol, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                             static_cast<int>(dynamic_shared_bytes)));
  }
  kernel<<<grid.blocks, block, dynamic_shared_bytes, stream>>>(arguments...);
  const cudaError_t status = cudaGetLastError();
  HESSCOPE_CHECK(CudaError, status == cudaSuccess, "launch of ", detail::kernel_name(symbol),
                 " in ", detail::describe(grid.where), ": ", cudaGetErrorString(status));
#else
  static_cast<void>(stream);  // the emulator is done when it returns
  try {
    emulation::run_grid(kernel, grid.blocks, block, dynamic_shared_bytes, arguments...);
  } catch (const emulation::Error& error) {
    fail<CudaError>("launch in ", detail::describe(grid.where), ": ", error.what());
  }
#endif
}

}  // namespace hesscope::cuda
