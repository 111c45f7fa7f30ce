#include "backends/cuda/launch.h"
#include "kernels/product_sum_kernels.h"

namespace hesscope::cuda {
namespace {

constexpr int kThreads = 256;

// out[a, b, c] = sum_t scale_t * prod_j operands[factor_t[j]][a, b, c]. A thread per element,
// blocks along rows; what the terms share comes from L1. Memory bound: every operand once, out
// once.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    product_sum_kernel(ProductSum<T> sum, BatchView<T> out, unsigned per_row) {
  const index_t row = blockIdx.x / per_row;
  const index_t a = row / out.rows, b = row % out.rows;
  const index_t c = index_t{blockIdx.x % per_row} * kThreads + threadIdx.x;
  if (c >= out.cols) return;
  T total = 0;
  for (int t = 0; t < sum.terms; ++t) {
    T product = sum.scale[t];
    for (int j = 0; j < kMaxTermFactors && sum.factor[t][j] >= 0; ++j) {
      const ProductOperand<T>& x = sum.operand[sum.factor[t][j]];
      product *= x.data[a * x.batch_stride + b * x.row_stride + (x.one_column ? 0 : c)];
    }
    total += product;
  }
  out.data[a * out.batch_stride + b * out.ld + c] = total;
}

}  // namespace

template <typename T>
void product_sum(const Context& ctx, const ProductSum<T>& sum, BatchView<T> out) {
  const ScopedDevice device(ctx.device);
  const index_t per_row = ceil_div(out.cols, kThreads);
  launch(product_sum_kernel<T>, make_grid(out.batch * out.rows * per_row), kThreads, 0,
         stream_of(ctx), sum, out, static_cast<unsigned>(per_row));
}

HESSCOPE_INSTANTIATE_PRODUCT_SUM(float)
HESSCOPE_INSTANTIATE_PRODUCT_SUM(double)

}  // namespace hesscope::cuda
