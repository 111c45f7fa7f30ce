#include "backends/cpu/dispatch.h"
#include "kernels/sparse_kernels.h"

namespace hesscope::cpu {

template <typename T, typename I>
void csr_matvec(const Context& ctx, VectorView<const std::int64_t> row_start,
                VectorView<const I> columns, VectorView<const T> values, MatrixView<const T> x,
                MatrixView<T> y) {
  HESSCOPE_CPU_DISPATCH(csr_matvec<T, I>(ctx, row_start, columns, values, x, y))
}

template <typename T, typename I>
void csr_lanczos_update(const Context& ctx, const CsrMatrix<T, I>& a, MatrixView<const T> v,
                        MatrixView<T> v_prev, MatrixView<double> state, VectorView<double> alpha,
                        VectorView<double> beta, double breakdown_tolerance){
    HESSCOPE_CPU_DISPATCH(csr_lanczos_update<T, I>(ctx, a, v, v_prev, state, alpha, beta,
                                                   breakdown_tolerance))}

HESSCOPE_FOR_EACH_CSR_TYPE(HESSCOPE_INSTANTIATE_SPARSE)

}  // namespace hesscope::cpu
