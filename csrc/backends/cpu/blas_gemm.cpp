#include "backends/cpu/blas_gemm.h"

#include <limits>

// The CBLAS interface (Blackford et al. 2002), declared here because some packages have no header.
#if !defined(BLAS_SYMBOL_PREFIX)
#define BLAS_SYMBOL_PREFIX
#endif
#define HESSCOPE_JOIN_(a, b) a##b
#define HESSCOPE_JOIN(a, b) HESSCOPE_JOIN_(a, b)
#define HESSCOPE_CBLAS(name) HESSCOPE_JOIN(BLAS_SYMBOL_PREFIX, cblas_##name)

extern "C" {
void HESSCOPE_CBLAS(sgemm)(int order, int trans_a, int trans_x, int m, int n, int k, float alpha,
                           const float* a, int lda, const float* x, int ldx, float beta, float* c,
                           int ldc);
void HESSCOPE_CBLAS(dgemm)(int order, int trans_a, int trans_x, int m, int n, int k, double alpha,
                           const double* a, int lda, const double* x, int ldx, double beta,
                           double* c, int ldc);
}

namespace hesscope::cpu {
namespace {

constexpr int kRowMajor = 101, kNoTranspose = 111, kTranspose = 112;
constexpr index_t kLargest = std::numeric_limits<int>::max();

void multiply(int trans_a, int trans_x, int m, int n, int k, float alpha, const float* a, int lda,
              const float* x, int ldx, float beta, float* c, int ldc) {
  HESSCOPE_CBLAS(sgemm)
  (kRowMajor, trans_a, trans_x, m, n, k, alpha, a, lda, x, ldx, beta, c, ldc);
}

void multiply(int trans_a, int trans_x, int m, int n, int k, double alpha, const double* a, int lda,
              const double* x, int ldx, double beta, double* c, int ldc) {
  HESSCOPE_CBLAS(dgemm)
  (kRowMajor, trans_a, trans_x, m, n, k, alpha, a, lda, x, ldx, beta, c, ldc);
}

/// How CBLAS sees an operand: row-major with a row stride, or the transpose of one.
struct Layout {
  bool valid;
  int transpose, leading;
};

template <typename T>
Layout layout_of(const GemmOperand<T>& t) {
  const auto fits = [](index_t stride, index_t length) {
    return stride >= length && stride <= kLargest;
  };
  if (t.col_stride == 1 && fits(t.row_stride, t.cols)) {
    return {true, kNoTranspose, static_cast<int>(t.row_stride)};
  }
  if (t.row_stride == 1 && fits(t.col_stride, t.rows)) {
    return {true, kTranspose, static_cast<int>(t.col_stride)};
  }
  return {false, kNoTranspose, 0};
}

}  // namespace

template <typename T>
bool blas_gemm(T alpha, const GemmOperand<T>& a, const GemmOperand<T>& x, T beta,
               const BatchView<T>& c) {
  const Layout left = layout_of(a), right = layout_of(x);
  const bool sizes = c.rows <= kLargest && c.cols <= kLargest && a.cols <= kLargest && a.cols > 0 &&
                     c.ld >= c.cols && c.ld <= kLargest;
  if (!left.valid || !right.valid || !sizes || alpha == 0) return false;
  for (index_t b = 0; b < c.batch; ++b) {
    multiply(left.transpose, right.transpose, static_cast<int>(c.rows), static_cast<int>(c.cols),
             static_cast<int>(a.cols), alpha, a.at(b, 0, 0), left.leading, x.at(b, 0, 0),
             right.leading, beta, c.matrix(b).data, static_cast<int>(c.ld));
  }
  return true;
}

template bool blas_gemm<float>(float, const GemmOperand<float>&, const GemmOperand<float>&, float,
                               const BatchView<float>&);
template bool blas_gemm<double>(double, const GemmOperand<double>&, const GemmOperand<double>&,
                                double, const BatchView<double>&);

}  // namespace hesscope::cpu
