#pragma once

#include "hesscope/context.h"
#include "hesscope/factor_sum.h"
#include "hesscope/view.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

/// A tensor [K, A, B, C] whose broadcast dimensions have stride 0; K has none in a factor. The
/// stride of C is 0 or 1.
template <typename T>
struct Grid4 {
  T* data;
  index_t stride[4];

  constexpr T* row(index_t k, index_t a, index_t b) const {
    return data + k * stride[0] + a * stride[1] + b * stride[2];
  }
};

/// What factor_sum works on.
template <typename T>
struct FactorSum {
  int count;
  Grid4<const T> factor[kMaxFactors], tangent[kMaxFactors];
  Grid4<T> out;
  index_t shape[4];
  T scale;
  bool add;

  constexpr index_t rows() const { return shape[1] * shape[2]; }  // of one probe
};

HESSCOPE_DECLARE_IN_EVERY_BACKEND(template <typename T>
                                  void factor_sum(const Context& ctx, const FactorSum<T>& sum);)

}  // namespace hesscope

#define HESSCOPE_INSTANTIATE_FACTOR_SUM(T) \
  template void factor_sum<T>(const Context&, const FactorSum<T>&);
