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

/// Calls f<kCount, kMixed, kProduct>() for the monomials of a jet: how many coefficients, whether
/// they are those of s, t and st, and whether f(x) is a factor of a product.
template <typename T, typename F>
void visit_jet(const PointwiseJet<T>& jet, const F& f) {
  const auto visit = [&]<int kCount, bool kMixed>() {
    jet.g_value == nullptr ? f.template operator()<kCount, kMixed, false>()
                           : f.template operator()<kCount, kMixed, true>();
  };
  switch (jet.monomials) {
    case Monomials::one:
      return visit.template operator()<1, false>();
    case Monomials::two:
      return visit.template operator()<2, false>();
    case Monomials::three:
      return visit.template operator()<3, false>();
    case Monomials::mixed:
      return visit.template operator()<3, true>();
  }
}

HESSCOPE_DECLARE_IN_EVERY_BACKEND(template <typename T>
                                  void pointwise_jet(const Context& ctx,
                                                     const PointwiseJet<T>& jet);)

}  // namespace hesscope

#define HESSCOPE_INSTANTIATE_POINTWISE_JET(T) \
  template void pointwise_jet<T>(const Context&, const PointwiseJet<T>&);
