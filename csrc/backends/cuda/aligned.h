#pragma once

#include <cstdint>

#include "hesscope/view.h"

namespace hesscope::cuda {

/// Whether every row starts at a multiple of 16 bytes, the width of the accesses kernels prefer.
template <typename T>
bool rows_are_aligned(const MatrixView<T>& x) {
  return reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 &&
         (x.rows <= 1 || x.ld * static_cast<index_t>(sizeof(T)) % 16 == 0);
}

template <typename T>
bool rows_are_aligned(const BatchView<T>& x) {
  return rows_are_aligned(x.matrix(0)) &&
         (x.batch <= 1 || x.batch_stride * static_cast<index_t>(sizeof(T)) % 16 == 0);
}

}  // namespace hesscope::cuda
