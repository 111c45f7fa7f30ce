#pragma once

#include "hesscope/softmax_jet.h"
#include "kernels/declare.h"
#include "kernels/slab.h"

namespace hesscope {

/// What softmax_jet works on; contiguous tensors [K, B, C].
template <typename T>
struct SoftmaxJet {
  index_t probes, rows, cols;
  int order;
  bool logarithm;
  const T* x[kMaxSoftmaxOrder];  // [K, B, C]
  const T* p;                    // [B, C]
  const T* w;                    // [B] or null: ones
  T* out[kMaxSoftmaxOrder];      // [K, B, C]
};

/// What softmax_jet_backward works on; of dg and dp one may be null.
template <typename T>
struct SoftmaxJetBackward {
  index_t probes, rows, cols;
  const T *dg, *dp;  // [K, B, C]
  const T *g, *p;    // [B, C]
  const T* along;    // [B]
  T* out;            // [K, B, C]
};

HESSCOPE_DECLARE_IN_EVERY_BACKEND(
    template <typename T>
    void softmax(const Context& ctx, MatrixView<const T> x, MatrixView<T> p, MatrixView<T> log_sum);
    template <typename T> void softmax_jet(const Context& ctx, const SoftmaxJet<T>& jet);
    template <typename T>
    void softmax_jet_backward(const Context& ctx, const SoftmaxJetBackward<T>& jet);)

}  // namespace hesscope

#define HESSCOPE_INSTANTIATE_SOFTMAX_JET(T)                                                    \
  template void softmax<T>(const Context&, MatrixView<const T>, MatrixView<T>, MatrixView<T>); \
  template void softmax_jet<T>(const Context&, const SoftmaxJet<T>&);                          \
  template void softmax_jet_backward<T>(const Context&, const SoftmaxJetBackward<T>&);
