#include <vector>

#include "kernels/norm_jet_kernels.h"

namespace hesscope::reference {
namespace {

using Group = std::vector<long double>;

template <typename T>
Group read(const T* tensor, const NormShape& s, index_t k, index_t g) {
  Group found;
  for (index_t o = 0; o < s.outer; ++o) {
    for (index_t i = 0; i < s.inner; ++i) {
      const index_t at = ((k * s.outer + o) * s.groups + g) * s.inner + i;
      found.push_back(tensor == nullptr ? 0.0L : static_cast<long double>(tensor[at]));
    }
  }
  return found;
}

template <typename T>
void write(T* tensor, const NormShape& s, index_t k, index_t g, const Group& group) {
  for (index_t o = 0; o < s.outer; ++o) {
    for (index_t i = 0; i < s.inner; ++i) {
      tensor[((k * s.outer + o) * s.groups + g) * s.inner + i] =
          static_cast<T>(group[o * s.inner + i]);
    }
  }
}

long double mean(const Group& a) {
  long double sum = 0;
  for (const long double value : a) sum += value;
  return sum / a.size();
}

long double mean_of_product(const Group& a, const Group& b) {
  long double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum / a.size();
}

}  // namespace

// c_0 = y / r_0 is the centred value; v = mean(c c); r = v^(-1/2), from v r'= -1/2 v' r; y = c r.
template <typename T>
void norm_jet(const Context&, const NormJet<T>& jet) {
  const NormShape& s = jet.shape;
  for (index_t k = 0; k < s.probes; ++k) {
    for (index_t g = 0; g < s.groups; ++g) {
      const int p = jet.order;
      std::vector<Group> c = {read(jet.y, s, 0, g)};
      for (long double& value : c[0]) value /= jet.rstd[g];
      std::vector<long double> means;
      for (int order = 0; order < p; ++order) {
        c.push_back(read(jet.x[order], s, k, g));
        means.push_back(jet.centred ? mean(c.back()) : 0.0L);
        for (long double& value : c.back()) value -= means.back();
      }
      std::vector<long double> v(p + 1, 0.0L), r = {static_cast<long double>(jet.rstd[g])};
      v[0] = 1 / (r[0] * r[0]);
      for (int order = 1; order <= p; ++order) {
        for (int i = 0; i <= order; ++i) v[order] += mean_of_product(c[i], c[order - i]);
        long double sum = 0;
        for (int j = 1; j <= order; ++j) sum += (j / 2.0L - order) * v[j] * r[order - j];
        r.push_back(sum / (order * v[0]));
      }
      for (int order = 1; order <= p; ++order) {
        Group y(s.size(), 0.0L);
        for (int i = 0; i <= order; ++i) {
          for (std::size_t e = 0; e < y.size(); ++e) y[e] += c[i][e] * r[order - i];
        }
        if (jet.out[order - 1] != nullptr) write(jet.out[order - 1], s, k, g, y);
        if (jet.mean_out[order - 1] != nullptr) {
          jet.mean_out[order - 1][k * s.groups + g] = static_cast<T>(means[order - 1]);
        }
        if (jet.rstd_out[order - 1] != nullptr) {
          jet.rstd_out[order - 1][k * s.groups + g] = static_cast<T>(r[order]);
        }
      }
    }
  }
}

template <typename T>
void norm_jet_backward(const Context&, const NormJetBackward<T>& jet) {
  const NormShape& s = jet.shape;
  for (index_t k = 0; k < s.probes; ++k) {
    for (index_t g = 0; g < s.groups; ++g) {
      const Group dg = read(jet.dg, s, k, g), dy = read(jet.dy, s, k, g);
      const Group value = read(jet.g, s, 0, g), y = read(jet.y, s, 0, g);
      const long double rstd = jet.rstd[g], mean_g = jet.moments[g];
      const long double along = jet.moments[s.groups + g];
      const long double drstd = jet.drstd == nullptr ? 0.0L : jet.drstd[k * s.groups + g];
      const long double mean_dg = jet.centred ? mean(dg) : 0.0L;
      const long double along_d = mean_of_product(y, dg) + mean_of_product(dy, value);
      Group out(s.size());
      for (std::size_t e = 0; e < out.size(); ++e) {
        out[e] = rstd * (dg[e] - mean_dg - dy[e] * along - y[e] * along_d) +
                 drstd * (value[e] - mean_g - y[e] * along);
      }
      write(jet.out, s, k, g, out);
    }
  }
}

HESSCOPE_INSTANTIATE_NORM_JET(float)
HESSCOPE_INSTANTIATE_NORM_JET(double)

}  // namespace hesscope::reference
