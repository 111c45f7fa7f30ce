#include "backends/no_cuda/stub.h"
#include "kernels/sparse_kernels.h"

namespace hesscope::cuda {

template <typename T, typename I>
void csr_matvec(const Context&, VectorView<const std::int64_t>, VectorView<const I>,
                VectorView<const T>, MatrixView<const T>, MatrixView<T>) {
  HESSCOPE_STUB("csr_matvec");
}

template <typename T, typename I>
void csr_lanczos_update(const Context&, const CsrMatrix<T, I>&, MatrixView<const T>, MatrixView<T>,
                        MatrixView<double>, VectorView<double>, VectorView<double>, double) {
  HESSCOPE_STUB("csr_lanczos_update");
}

HESSCOPE_FOR_EACH_CSR_TYPE(HESSCOPE_INSTANTIATE_SPARSE)

}  // namespace hesscope::cuda
