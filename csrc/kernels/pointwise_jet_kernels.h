#pragma once

#include "hesscope/pointwise_jet.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

inline constexpr int kMaxMonomials = 3;

/// What pointwise_jet works on; null is a coefficient that is zero, or that is not wanted.
template <typename T>
struct PointwiseJet {
  index_t probes, size;  // K, N
  Monomials monomials;
  const T* taylor[kMaxMonomials + 1];  // [N]
  const T* x[kMaxMonomials];           // [K, N]
  const T* g_value;                    // [N], null without a product
  const T* g[kMaxMonomials];           // [K, N]
  T* out[kMaxMonomials];               // [K, N]
};

HESSCOPE_DECLARE_IN_EVERY_BACKEND(template <typename T>
                                  void pointwise_jet(const Context& ctx,
                                                     const PointwiseJet<T>& jet);)

}  // namespace hesscope

#define HESSCOPE_INSTANTIATE_POINTWISE_JET(T) \
  template void pointwise_jet<T>(const Context&, const PointwiseJet<T>&);
