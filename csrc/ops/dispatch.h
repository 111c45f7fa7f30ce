#pragma once

#include "hesscope/context.h"
#include "hesscope/error.h"
#include "ops/check.h"

namespace hesscope {

template <typename T>
struct Tag {
  using type = T;
};

/// Call f with the type of a vector: float or double.
template <typename F>
void visit_real(const char* op, Named argument, F&& f) {
  switch (argument.tensor.dtype) {
    case DType::f32:
      return f(Tag<float>{});
    case DType::f64:
      return f(Tag<double>{});
    default:
      check_dtype(op, argument, {DType::f32, DType::f64});
  }
}

/// Call f with the type of a stored basis: bfloat16, float or double.
template <typename F>
void visit_storage(const char* op, Named argument, F&& f) {
  switch (argument.tensor.dtype) {
    case DType::bf16:
      return f(Tag<bfloat16>{});
    case DType::f32:
      return f(Tag<float>{});
    case DType::f64:
      return f(Tag<double>{});
    default:
      check_dtype(op, argument, {DType::bf16, DType::f32, DType::f64});
  }
}

}  // namespace hesscope

/// Run a kernel of the backend that the context names.
#define HESSCOPE_DISPATCH(ctx, ...)              \
  switch ((ctx).backend) {                       \
    case Backend::reference:                     \
      return ::hesscope::reference::__VA_ARGS__; \
    case Backend::cpu:                           \
      return ::hesscope::cpu::__VA_ARGS__;       \
    case Backend::cuda:                          \
      return ::hesscope::cuda::__VA_ARGS__;      \
  }
