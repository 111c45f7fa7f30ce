#pragma once

#include "backends/cuda/device/vector_load.cuh"
#include "hesscope/types.h"

namespace hesscope::cuda {

/// to[e] = row[i + e] for i + e < end, and zero behind the end, which is not read.
///
/// Which elements a thread gets depends on i alone: rows that are not aligned (kAligned == false)
/// are read one element at a time instead of being peeled, because peeling would make the order of
/// a sum, and so its bits, depend on the address of the row.
template <bool kAligned, typename T, int kCount>
__device__ inline void load_elements(const T* row,  // [end]
                                     index_t i, index_t end, T (&to)[kCount]) {
  constexpr int kWidth = kVectorWidth<T>;
  if (kAligned && i + kCount <= end) {
#pragma unroll
    for (int part = 0; part < kCount; part += kWidth) {
      const Vector<T> vector = load_vector(row + i + part);
#pragma unroll
      for (int e = 0; e < kWidth; ++e) to[part + e] = vector.element[e];
    }
  } else {
#pragma unroll
    for (int e = 0; e < kCount; ++e) to[e] = i + e < end ? row[i + e] : T{};
  }
}

/// row[i + e] = from[e] for i + e < end.
template <bool kAligned, typename T, int kCount>
__device__ inline void store_elements(T* row,  // [end]
                                      index_t i, index_t end, const T (&from)[kCount]) {
  constexpr int kWidth = kVectorWidth<T>;
  if (kAligned && i + kCount <= end) {
#pragma unroll
    for (int part = 0; part < kCount; part += kWidth) {
      Vector<T> vector;
#pragma unroll
      for (int e = 0; e < kWidth; ++e) vector.element[e] = from[part + e];
      store_vector(row + i + part, vector);
    }
  } else {
#pragma unroll
    for (int e = 0; e < kCount; ++e) {
      if (i + e < end) row[i + e] = from[e];
    }
  }
}

}  // namespace hesscope::cuda
