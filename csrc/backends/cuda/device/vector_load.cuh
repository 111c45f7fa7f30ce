#pragma once

#include <cstdint>

#include "backends/cuda/device/portable.cuh"

namespace hesscope::cuda {

/// Elements in one 16-byte access: 4 float, 2 double, 8 bfloat16.
template <typename T>
inline constexpr int kVectorWidth = 16 / static_cast<int>(sizeof(T));

/// What one 16-byte access moves. The alignment is what makes nvcc emit LDG.E.128 and STG.E.128.
template <typename T>
struct alignas(16) Vector {
  T element[kVectorWidth<T>];
};

/// Read kVectorWidth<T> elements. `from` is 16-byte aligned: a device traps on anything else, and
/// so does the emulator.
template <typename T>
__device__ inline Vector<T> load_vector(const T* from  // [kVectorWidth<T>]
) {
#if !defined(__CUDACC__)
  emulation::require_alignment(from, 16);
#endif
  return *reinterpret_cast<const Vector<T>*>(from);
}

/// Write kVectorWidth<T> elements. `to` is 16-byte aligned.
template <typename T>
__device__ inline void store_vector(T* to,  // [kVectorWidth<T>]
                                    const Vector<T>& value) {
#if !defined(__CUDACC__)
  emulation::require_alignment(to, 16);
#endif
  *reinterpret_cast<Vector<T>*>(to) = value;
}

/// Elements of a row before its first 16-byte boundary: what a kernel peels off a foreign row
/// before it may use load_vector. `row` is aligned to its own element; at most `count` is returned.
template <typename T>
__device__ inline std::int64_t elements_before_alignment(const T* row,  // [count]
                                                         std::int64_t count) {
  const auto past = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(row) % 16);
  const std::int64_t head = past == 0 ? 0 : (16 - past) / static_cast<std::int64_t>(sizeof(T));
  return head < count ? head : count;
}

}  // namespace hesscope::cuda
