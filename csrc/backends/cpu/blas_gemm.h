#pragma once

#include "kernels/gemm_kernels.h"

namespace hesscope::cpu {

/// gemm by the CBLAS library that this build was linked with (HESSCOPE_BLAS=ON). False, and nothing
/// done, where its interface cannot express the strides or sizes. The library has threads of its
/// own.
template <typename T>
bool blas_gemm(T alpha, const GemmOperand<T>& a, const GemmOperand<T>& x, T beta,
               const BatchView<T>& c);

}  // namespace hesscope::cpu
