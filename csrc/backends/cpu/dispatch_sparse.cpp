#include "backends/cpu/dispatch.h"
#include "kernels/sparse_kernels.h"

namespace hesscope::cpu {

template <typename T, typename I>
void csr_matvec(const Context& ctx, VectorView<const std::int64_t> row_start,
                VectorView<const I> columns, VectorView<const T> values, MatrixView<const T> x,
                MatrixView<T> y){
    HESSCOPE_CPU_DISPATCH(csr_matvec<T, I>(ctx, row_start, columns, values, x, y))}

HESSCOPE_FOR_EACH_CSR_TYPE(HESSCOPE_INSTANTIATE_SPARSE)

}  // namespace hesscope::cpu
