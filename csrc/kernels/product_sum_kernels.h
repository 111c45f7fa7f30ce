#pragma once

#include "hesscope/product_sum.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

/// An operand, its broadcast dimensions with stride 0.
template <typename T>
struct ProductOperand {
  const T* data;
  index_t batch_stride, row_stride;
  bool one_column;

  constexpr const T* row(index_t a, index_t b) const {
    return data + a * batch_stride + b * row_stride;
  }
};

/// Everything that a kernel needs, by value: a launch copies it. Plain arrays: device code may not
/// call the operators of std::array.
template <typename T>
struct ProductSum {
  ProductOperand<T> operand[kMaxProductOperands];
  T scale[kMaxProductTerms];
  int factor[kMaxProductTerms][kMaxTermFactors];  // -1 ends a term
  int terms, operands;
};

HESSCOPE_DECLARE_IN_EVERY_BACKEND(template <typename T> void product_sum(const Context& ctx,
                                                                         const ProductSum<T>& sum,
                                                                         BatchView<T> out);)

}  // namespace hesscope

#define HESSCOPE_INSTANTIATE_PRODUCT_SUM(T) \
  template void product_sum<T>(const Context&, const ProductSum<T>&, BatchView<T>);
