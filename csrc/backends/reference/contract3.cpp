#include "math/contract3.h"

#include <cmath>
#include <vector>

#include "kernels/contract3_kernels.h"

namespace hesscope::reference {
namespace {

/// out[l] = sum_ij T[i, j, l] u[i] v[j]
template <typename Out>
void contract_row(const double* t, int k, const double* u, const double* v, Out* out) {
  for (int l = 0; l < k; ++l) {
    long double sum = 0;
    for (int i = 0; i < k; ++i) {
      for (int j = 0; j < k; ++j) {
        sum += static_cast<long double>(t[symmetric_tensor_index(k, i, j, l)]) * u[i] * v[j];
      }
    }
    out[l] = static_cast<Out>(sum);
  }
}

long double norm(const std::vector<long double>& y) {
  long double sum = 0;
  for (const long double entry : y) sum += entry * entry;
  return std::sqrt(sum);
}

}  // namespace

void contract3(const Context&, const double* t, MatrixView<const double> u,
               MatrixView<const double> v, MatrixView<double> out) {
  for (index_t b = 0; b < out.rows; ++b) {
    contract_row(t, static_cast<int>(out.cols), u.row(b), v.row(b), out.row(b));
  }
}

void contract3_scalar(const Context&, const double* t, MatrixView<const double> u,
                      MatrixView<const double> v, MatrixView<const double> w, double* out) {
  std::vector<long double> y(static_cast<std::size_t>(u.cols));
  for (index_t b = 0; b < u.rows; ++b) {
    contract_row(t, static_cast<int>(u.cols), u.row(b), v.row(b), y.data());
    long double sum = 0;
    for (index_t l = 0; l < u.cols; ++l) sum += y[static_cast<std::size_t>(l)] * w.row(b)[l];
    out[b] = static_cast<double>(sum);
  }
}

void higher_order_power(const Context&, const double* t, MatrixView<double> x, double shift,
                        index_t num_steps, double* value, double* residual) {
  const auto k = static_cast<std::size_t>(x.cols);
  std::vector<long double> y(k);
  for (index_t b = 0; b < x.rows; ++b) {
    double* row = x.row(b);
    const auto normalize = [&] {
      const long double length = norm(y);
      for (std::size_t l = 0; l < k && length > 0; ++l) row[l] = static_cast<double>(y[l] / length);
    };
    for (std::size_t l = 0; l < k; ++l) y[l] = row[l];
    normalize();
    for (index_t step = 0; step < num_steps; ++step) {
      contract_row(t, static_cast<int>(k), row, row, y.data());
      for (std::size_t l = 0; l < k; ++l) y[l] += static_cast<long double>(shift) * row[l];
      normalize();
    }
    contract_row(t, static_cast<int>(k), row, row, y.data());
    long double sum = 0;
    for (std::size_t l = 0; l < k; ++l) sum += y[l] * row[l];
    for (std::size_t l = 0; l < k; ++l) y[l] -= sum * row[l];
    value[b] = static_cast<double>(sum);
    residual[b] = static_cast<double>(norm(y));
  }
}

}  // namespace hesscope::reference
