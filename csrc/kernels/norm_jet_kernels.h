#pragma once

#include "hesscope/context.h"
#include "hesscope/norm_jet.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

/// Contiguous tensors [K, O, G, I], normalised over O and I.
struct NormShape {
  index_t probes, outer, groups, inner;

  constexpr index_t size() const { return outer * inner; }               // of a group
  constexpr index_t elements() const { return outer * groups * inner; }  // of a probe
};

/// What norm_jet works on; pointers that are not wanted are null.
template <typename T>
struct NormJet {
  NormShape shape;
  int order;
  bool centred;
  const T* x[kMaxNormOrder];   // [K, O, G, I]
  const T* y;                  // [O, G, I]
  const T* rstd;               // [G]
  T* out[kMaxNormOrder];       // [K, O, G, I]
  T* mean_out[kMaxNormOrder];  // [K, G]
  T* rstd_out[kMaxNormOrder];  // [K, G]
};

/// What norm_jet_backward works on; of dg, dy and drstd at least one is not null.
template <typename T>
struct NormJetBackward {
  NormShape shape;
  bool centred;
  const T *dg, *dy;  // [K, O, G, I]
  const T* drstd;    // [K, G]
  const T *g, *y;    // [O, G, I]
  const T* rstd;     // [G]
  const T* moments;  // [2, G]
  T* out;            // [K, O, G, I]
};

HESSCOPE_DECLARE_IN_EVERY_BACKEND(template <typename T>
                                  void norm_jet(const Context& ctx, const NormJet<T>& jet);
                                  template <typename T>
                                  void norm_jet_backward(const Context& ctx,
                                                         const NormJetBackward<T>& jet);)

}  // namespace hesscope

#define HESSCOPE_INSTANTIATE_NORM_JET(T)                        \
  template void norm_jet<T>(const Context&, const NormJet<T>&); \
  template void norm_jet_backward<T>(const Context&, const NormJetBackward<T>&);
