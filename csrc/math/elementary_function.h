#pragma once

#include "math/elementary.h"

namespace hesscope {
inline namespace HESSCOPE_MATH_ABI {

// One functor per member of ElementaryFunction, so that kernels take them as types.

struct Exp {
  HESSCOPE_HD double operator()(double x) const { return elementary::exp(x); }
};
struct Log {
  HESSCOPE_HD double operator()(double x) const { return elementary::log(x); }
};
struct SinPi {
  HESSCOPE_HD double operator()(double x) const { return elementary::sincospi(x).sin; }
};
struct CosPi {
  HESSCOPE_HD double operator()(double x) const { return elementary::sincospi(x).cos; }
};
struct NormalCdf {
  HESSCOPE_HD double operator()(double x) const { return elementary::normal_cdf(x); }
};

}  // namespace HESSCOPE_MATH_ABI
}  // namespace hesscope
