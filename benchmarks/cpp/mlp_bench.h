#pragma once

#include <functional>
#include <string>
#include <vector>

#include "mlp_check.h"

namespace hesscope::bench {

/// A derivative along K directions: its name, and the multiplications it takes in products of
/// matrices, in units of one with the weights of a layer: in the first layer, and in the others.
struct MlpOp {
  std::string name;
  double first, later;
};

/// Verifies and times derivatives of one network. A case's notes are the time of a direction, that
/// time in gradients, and the share of the rate of gemm on the layer with the most weights.
class MlpBench {
 public:
  MlpBench(Suite& suite, DType dtype, const MlpShape& shape);

  const Context& context() const { return ctx_; }
  const MlpDifferences& differences() const { return differences_; }

  /// Row k of the directions u or v, and all of them on the device.
  std::span<const double> u(index_t k) const { return row(host_u_, k); }
  std::span<const double> v(index_t k) const { return row(host_v_, k); }
  const TensorView& u() const { return u_; }
  const TensorView& v() const { return v_; }

  using Call = std::function<void(MlpObjective&, const TensorView& out)>;
  using Truth = std::function<Bounded(index_t k)>;

  /// The unit of the others: forward and backward pass of the network included.
  void gradient();

  /// A vector for each direction: out [K, n].
  void rows(const MlpOp& op, const Call& call, const Truth& truth);

  /// A number for each direction, out [K, 1] float64: v' times the true vector.
  void values(const MlpOp& op, const Call& call, const Truth& truth);

 private:
  std::span<const double> row(const std::vector<double>& rows, index_t k) const;
  double worst(const std::function<double(index_t k)>& error) const;
  void run(const MlpOp& op, const Call& call, const TensorView& out,
           const std::function<double(index_t k)>& error);
  double gemm_rate() const;

  Suite& suite_;
  DType dtype_;
  MlpShape shape_;
  Context ctx_;
  MlpDifferences differences_;
  std::vector<double> host_u_, host_v_;
  MlpProblem network_;
  MlpObjective objective_;
  Tensor u_, v_;
  double gradient_seconds_ = 0;
};

/// What bench_hvp and bench_third_order do: the given network, or the usual ones.
int run_mlp_main(const char* name, const char* summary, int argc, char** argv,
                 const std::function<void(MlpBench&)>& body);

}  // namespace hesscope::bench
