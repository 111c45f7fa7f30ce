#pragma once

#include <cstring>

namespace hesscope::HESSCOPE_CPU_NAMESPACE {

/// W numbers side by side: the compiler's vector type. It is lowered to whatever registers the
/// instruction set has, element by element, so that the bits do not depend on it, and unlike a loop
/// it does not wait for -O3 to become a vector.
template <typename T, int W>
struct LanesOf {
  typedef T type __attribute__((vector_size(W * sizeof(T))));
};

template <typename T>
struct LanesOf<T, 1> {
  using type = T;  // GCC 12 keeps a vector of one in memory
};

template <typename T, int W>
using Lanes = typename LanesOf<T, W>::type;

template <typename T, typename V>
inline T get_lane(const V& lanes, int i) {
  if constexpr (sizeof(V) == sizeof(T)) {
    return lanes;
  } else {
    return lanes[i];
  }
}

template <typename T, typename V>
inline void set_lane(V& lanes, int i, T value) {
  if constexpr (sizeof(V) == sizeof(T)) {
    lanes = value;
  } else {
    lanes[i] = value;
  }
}

/// By reference: to return or pass 32 bytes by value would depend on the instruction set.
template <typename V, typename T>
inline void load_lanes(V& lanes, const T* from) {
  std::memcpy(&lanes, from, sizeof(V));
}

template <typename V, typename T>
inline void store_lanes(T* to, const V& lanes) {
  std::memcpy(to, &lanes, sizeof(V));
}

}  // namespace hesscope::HESSCOPE_CPU_NAMESPACE
