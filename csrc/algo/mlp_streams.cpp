#include "algo/mlp_pass.h"

// Coefficients along directions: ' by u, ` by v, '` by both. With z = x W' + c, a = f(z), e the
// error by a and d = f'(z) e, each rule is the product rule applied to one line of the network.

namespace hesscope {
namespace {

ProductTerm term(int a, int b, double scale = 1) { return {scale, {a, b, -1, -1}}; }
ProductTerm term3(int a, int b, int c, double scale = 1) { return {scale, {a, b, c, -1}}; }
ProductTerm term4(int a, int b, int c, int d) { return {1, {a, b, c, d}}; }

}  // namespace

MlpStream MlpPass::forward(const TensorView& v) {
  MlpStream s;
  for (std::size_t l = 0; l < depth(); ++l) {
    const TensorView w = weight(l), x = primal(l).below;
    const TensorView z = take(k_, x.shape[1], w.shape[1]);
    const bool biased = mlp_.layers_[l].bias.ndim != 0;
    if (biased) combine({bias_of(v, l)}, {ProductTerm{1, {0, -1, -1, -1}}}, z);
    multiply(x, transposed(weight_of(v, l)), z, biased);
    if (l > 0) multiply(folded(s.active[l - 1]), transposed(w), folded(z), true);
    TensorView a = z;
    if (!linear(l)) {
      a = take(k_, x.shape[1], w.shape[1]);
      combine({derivative(l, 1), z}, {term(0, 1)}, a);
    }
    s.given.push_back(z);
    s.active.push_back(a);
  }
  return s;
}

MlpStream MlpPass::forward(const TensorView& u, const MlpStream& by_u, const TensorView& v,
                           const MlpStream& by_v) {
  const bool one = &by_u == &by_v;  // direction: two products that mirror each other are equal
  const double twice = one ? 2 : 1;
  MlpStream s;
  for (std::size_t l = 0; l < depth(); ++l) {
    const TensorView w = weight(l);
    const index_t rows = primal(l).below.shape[1];
    TensorView z;  // nothing in the first layer: z is linear in its parameters
    if (l > 0) {
      z = take(k_, rows, w.shape[1]);
      multiply(by_u.active[l - 1], transposed(weight_of(v, l)), z, false, twice);
      if (!one) multiply(by_v.active[l - 1], transposed(weight_of(u, l)), z, true);
      if (s.active[l - 1].data != nullptr) {
        multiply(folded(s.active[l - 1]), transposed(w), folded(z), true);
      }
    }
    TensorView a = z;
    if (!linear(l)) {
      a = take(k_, rows, w.shape[1]);
      const TensorView &zu = by_u.given[l], &zv = by_v.given[l];
      if (l == 0) {
        combine({derivative(l, 2), zu, zv}, {term3(0, 1, 2)}, a);
      } else {
        combine({derivative(l, 2), zu, zv, derivative(l, 1), z}, {term3(0, 1, 2), term(3, 4)}, a);
      }
    }
    s.given.push_back(z);
    s.active.push_back(a);
  }
  return s;
}

MlpStream MlpPass::forward3(const TensorView& v, const MlpStream& first, const MlpStream& second) {
  MlpStream s;
  for (std::size_t l = 0; l < depth(); ++l) {
    const TensorView w = weight(l);
    const index_t rows = primal(l).below.shape[1];
    TensorView z;
    if (l > 0 && second.active[l - 1].data != nullptr) {
      z = take(k_, rows, w.shape[1]);
      const TensorView tripled = take(k_, rows, w.shape[2]);
      combine({second.active[l - 1]}, {ProductTerm{3, {0, -1, -1, -1}}}, tripled);
      multiply(tripled, transposed(weight_of(v, l)), z, false);
      if (s.active[l - 1].data != nullptr) {
        multiply(folded(s.active[l - 1]), transposed(w), folded(z), true);
      }
    }
    TensorView a = z;
    if (!linear(l)) {
      a = take(k_, rows, w.shape[1]);
      const TensorView &z1 = first.given[l], &z2 = second.given[l];
      combine({derivative(l, 3), z1}, {term4(0, 1, 1, 1)}, a);
      if (z2.data != nullptr) {
        combine({a, derivative(l, 2), z1, z2}, {ProductTerm{1, {0, -1, -1, -1}}, term3(1, 2, 3, 3)},
                a);
      }
      if (z.data != nullptr) {
        combine({a, derivative(l, 1), z}, {ProductTerm{1, {0, -1, -1, -1}}, term(1, 2)}, a);
      }
    }
    s.given.push_back(z);
    s.active.push_back(a);
  }
  return s;
}

void MlpPass::backward(const TensorView& v, MlpStream& first, const TensorView& out) {
  first.error.resize(depth());
  first.delta.resize(depth());
  first.error.back() = loss_first(first.active.back());
  for (std::size_t l = depth(); l-- > 0;) {
    const TensorView e = first.error[l];
    TensorView d = e;
    if (!linear(l)) {
      d = take(k_, e.shape[1], e.shape[2]);
      combine({derivative(l, 1), e, derivative(l, 2), first.given[l], primal(l).error},
              {term(0, 1), term3(2, 3, 4)}, d);
    }
    first.delta[l] = d;
    if (out.data != nullptr) {
      write_gradient(l, d, out);
      if (l > 0) {
        multiply(transposed(primal(l).delta), first.active[l - 1], weight_of(out, l), true);
      }
    }
    if (l == 0) break;
    const TensorView w = weight(l);
    first.error[l - 1] = take(k_, e.shape[1], w.shape[2]);
    multiply(folded(d), w, folded(first.error[l - 1]), false);
    multiply(primal(l).delta, weight_of(v, l), first.error[l - 1], true);
  }
}

void MlpPass::backward(const TensorView& u, const MlpStream& by_u, const TensorView& v,
                       const MlpStream& by_v, MlpStream& second, const TensorView& out) {
  const bool one = &by_u == &by_v;
  const double twice = one ? 2 : 1;
  second.error.resize(depth());
  second.error.back() = loss_second(by_u.active.back(), by_v.active.back(), second.active.back());
  for (std::size_t l = depth(); l-- > 0;) {
    const TensorView e = second.error[l], e0 = primal(l).error;
    TensorView d = e;
    if (!linear(l)) {
      d = take(k_, e.shape[1], e.shape[2]);
      const TensorView &zu = by_u.given[l], &zv = by_v.given[l], &z = second.given[l];
      combine({derivative(l, 1), e, derivative(l, 2), zu, by_v.error[l], zv, by_u.error[l],
               derivative(l, 3), e0},
              {term(0, 1), term3(2, 3, 4), term3(2, 5, 6), term4(7, 3, 5, 8)}, d);
      if (z.data != nullptr) {
        combine({d, derivative(l, 2), z, e0}, {ProductTerm{1, {0, -1, -1, -1}}, term3(1, 2, 3)}, d);
      }
    }
    write_gradient(l, d, out);
    if (l == 0) break;
    const TensorView g = weight_of(out, l), w = weight(l);
    multiply(transposed(by_u.delta[l]), by_v.active[l - 1], g, true, twice);
    if (!one) multiply(transposed(by_v.delta[l]), by_u.active[l - 1], g, true);
    if (second.active[l - 1].data != nullptr) {
      multiply(transposed(primal(l).delta), second.active[l - 1], g, true);
    }
    second.error[l - 1] = take(k_, e.shape[1], w.shape[2]);
    multiply(folded(d), w, folded(second.error[l - 1]), false);
    multiply(by_u.delta[l], weight_of(v, l), second.error[l - 1], true, twice);
    if (!one) multiply(by_v.delta[l], weight_of(u, l), second.error[l - 1], true);
  }
}

}  // namespace hesscope
