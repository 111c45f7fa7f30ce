#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/softmax_jet_kernels.h"

namespace hesscope::reference {
namespace {

using Row = std::vector<long double>;

template <typename T>
Row read(const T* tensor, index_t row, index_t cols) {
  Row found(cols, 0.0L);
  if (tensor != nullptr) std::copy_n(tensor + row * cols, cols, found.begin());
  return found;
}

template <typename T>
void write(T* tensor, index_t row, const Row& from) {
  const auto cols = static_cast<index_t>(from.size());
  for (index_t c = 0; c < cols; ++c) tensor[row * cols + c] = static_cast<T>(from[c]);
}

long double dot(const Row& a, const Row& b) {
  long double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

template <typename T>
void softmax(const Context&, MatrixView<const T> x, MatrixView<T> p, MatrixView<T> log_sum) {
  for (index_t b = 0; b < x.rows; ++b) {
    const T* row = x.row(b);
    const long double largest = *std::max_element(row, row + x.cols);
    long double sum = 0;
    for (index_t c = 0; c < x.cols; ++c) sum += std::exp(row[c] - largest);
    for (index_t c = 0; c < x.cols; ++c) {
      p.row(b)[c] = static_cast<T>(std::exp(row[c] - largest) / sum);
    }
    log_sum.row(b)[0] = static_cast<T>(largest + std::log(sum));
  }
}

// x_k less its mean under p; e = p exp(x - x_0) from k e_k = sum_j j x_j e_(k-j); s = sum_c e;
// y = e / s from y_k = e_k - sum_j s_j y_(k-j); l = log s from s_k = l_k + sum_(j<k) j/k l_j
// s_(k-j).
template <typename T>
void softmax_jet(const Context&, const SoftmaxJet<T>& jet) {
  for (index_t k = 0; k < jet.probes; ++k) {
    for (index_t b = 0; b < jet.rows; ++b) {
      const long double w = jet.w == nullptr ? 1.0L : jet.w[b];
      const Row p = read(jet.p, b, jet.cols);
      std::vector<Row> x = {Row(p.size(), 0.0L)}, e = {p}, y = {p};
      std::vector<long double> s = {1}, l = {0};
      for (int order = 1; order <= jet.order; ++order) {
        Row found = read(jet.x[order - 1], k * jet.rows + b, jet.cols);
        const long double mean = dot(p, found);
        for (long double& value : found) value -= mean;
        x.push_back(found);
        Row power(p.size(), 0.0L);
        for (int j = 1; j <= order; ++j) {
          for (std::size_t c = 0; c < p.size(); ++c) power[c] += j * x[j][c] * e[order - j][c];
        }
        for (long double& value : power) value /= order;
        e.push_back(power);
        long double sum = 0;
        for (const long double value : power) sum += value;
        s.push_back(sum);
        for (int j = 1; j < order; ++j) sum -= j * l[j] * s[order - j] / order;
        l.push_back(sum);
        Row quotient = power;
        for (int j = 1; j <= order; ++j) {
          for (std::size_t c = 0; c < p.size(); ++c) quotient[c] -= s[j] * y[order - j][c];
        }
        y.push_back(quotient);
        Row out = jet.logarithm ? found : quotient;
        for (long double& value : out) value = w * (value - (jet.logarithm ? sum : 0.0L));
        write(jet.out[order - 1], k * jet.rows + b, out);
      }
    }
  }
}

template <typename T>
void softmax_jet_backward(const Context&, const SoftmaxJetBackward<T>& jet) {
  for (index_t k = 0; k < jet.probes; ++k) {
    for (index_t b = 0; b < jet.rows; ++b) {
      const index_t row = k * jet.rows + b;
      const Row dg = read(jet.dg, row, jet.cols), dp = read(jet.dp, row, jet.cols);
      const Row g = read(jet.g, b, jet.cols), p = read(jet.p, b, jet.cols);
      const long double along = jet.along[b], along_d = dot(p, dg) + dot(g, dp);
      Row out(p.size());
      for (std::size_t c = 0; c < p.size(); ++c) {
        out[c] = p[c] * (dg[c] - along_d) + dp[c] * (g[c] - along);
      }
      write(jet.out, row, out);
    }
  }
}

HESSCOPE_INSTANTIATE_SOFTMAX_JET(float)
HESSCOPE_INSTANTIATE_SOFTMAX_JET(double)

}  // namespace hesscope::reference
