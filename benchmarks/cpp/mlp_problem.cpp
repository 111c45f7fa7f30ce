#include "mlp_problem.h"

#include <cmath>
#include <sstream>

#include "data.h"

namespace hesscope::bench {
namespace {

std::string joined(const std::vector<index_t>& widths) {
  std::string text;
  for (const index_t width : widths) {
    text.append(text.empty() ? "" : "-").append(std::to_string(width));
  }
  return text;
}

std::vector<index_t> parse_widths(const std::string& text) {
  std::vector<index_t> widths;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, '-');) {
    widths.push_back(parse_integer("--widths", word, 1, index_t{1} << 20));
  }
  if (widths.size() < 2) throw UsageError("--widths must be at least IN-OUT, got " + text);
  return widths;
}

/// Parameters [offset, offset + out * in) as a matrix.
TensorView matrix(const TensorView& row, index_t offset, index_t out, index_t in) {
  TensorView t = narrow(row, 1, offset, out * in);
  t.shape = {out, in}, t.stride = {in, 1};
  return t;
}

}  // namespace

index_t MlpShape::size() const {
  index_t n = 0;
  for (std::size_t l = 0; l < depth(); ++l) n += (widths[l] + 1) * widths[l + 1];
  return n;
}

double MlpShape::flops(double first, double later) const {
  double sum = 0;
  for (std::size_t l = 0; l < depth(); ++l) {
    const double product = 2.0 * static_cast<double>(rows * widths[l] * widths[l + 1]);
    sum += product * (l == 0 ? first : later);
  }
  return sum;
}

Case MlpShape::named(std::string op, DType dtype, double first, double later) const {
  const bool entropy = loss == MlpLoss::cross_entropy;
  return {.op = std::move(op),
          .label = {{"dtype", std::string(name_of(dtype))},
                    {"widths", joined(widths)},
                    {"M", std::to_string(rows)},
                    {"K", std::to_string(vectors)},
                    {"activation", std::string(hesscope::name_of(activation))},
                    {"loss", entropy ? "cross_entropy" : "squared_error"}},
          .bytes = 0,
          .flops = flops(first, later)};
}

std::vector<Flag> mlp_flags(MlpShape& shape, bool& given) {
  const auto set = [&given](auto apply) {
    return [&given, apply](const std::vector<std::string>& v) {
      given = true;
      apply(v[0]);
    };
  };
  return {
      {"--widths", "IN-...-OUT", "widths of the layers, e.g. 784-256-10",
       set([&](const std::string& v) { shape.widths = parse_widths(v); })},
      {"--rows", "M", "examples in the batch; default 32",
       set([&](const std::string& v) { shape.rows = parse_integer("--rows", v, 1, 1 << 24); })},
      {"--vectors", "K", "directions at once; default 8", set([&](const std::string& v) {
         shape.vectors = parse_integer("--vectors", v, 1, 1 << 16);
       })},
      {"--activation", "NAME", "of the hidden layers; default tanh",
       set([&](const std::string& v) { shape.activation = activation_of(v); })},
      {"--loss", "NAME", "cross_entropy (default) or squared_error", set([&](const std::string& v) {
         if (v != "cross_entropy" && v != "squared_error") {
           throw UsageError("--loss must be cross_entropy or squared_error, got " + v);
         }
         shape.loss = v == "cross_entropy" ? MlpLoss::cross_entropy : MlpLoss::squared_error;
       })},
  };
}

std::vector<MlpShape> checked_mlps() {
  const auto make = [](std::vector<index_t> widths, index_t rows, index_t vectors, Activation f,
                       MlpLoss loss) {
    return MlpShape{.widths = std::move(widths),
                    .rows = rows,
                    .vectors = vectors,
                    .activation = f,
                    .loss = loss};
  };
  using enum Activation;
  using enum MlpLoss;
  return {make({3, 2}, 5, 1, identity, cross_entropy),
          make({1, 1, 1}, 1, 2, tanh, squared_error),
          make({5, 7, 3}, 9, 3, sigmoid, cross_entropy),
          make({4, 9, 6, 2}, 7, 2, gelu, squared_error),
          make({7, 5, 6, 4}, 6, 9, silu, cross_entropy),
          make({6, 33, 5, 3}, 17, 2, softplus, cross_entropy),
          make({2, 8, 8, 3}, 4, 3, gelu_tanh, cross_entropy),
          make({9, 13, 4}, 65, 2, tanh, cross_entropy)};
}

std::vector<double> random_parameters(const MlpShape& shape) {
  std::vector<double> values;
  Random random(1);
  for (std::size_t l = 0; l < shape.depth(); ++l) {
    const double size = std::sqrt(3.0 / static_cast<double>(shape.widths[l]));
    for (index_t i = 0; i < (shape.widths[l] + 1) * shape.widths[l + 1]; ++i) {
      values.push_back(static_cast<float>(size * random.uniform()));
    }
  }
  return values;
}

std::vector<double> random_vectors(const MlpShape& shape, std::uint64_t seed) {
  std::vector<double> values;
  Random random(seed);
  for (index_t i = 0; i < shape.vectors * shape.size(); ++i) {
    values.push_back(static_cast<float>(random.uniform()));
  }
  return values;
}

MlpProblem::MlpProblem(const Context& ctx, DType dtype, const MlpShape& shape,
                       const std::vector<double>& parameters)
    : ctx_(ctx), shape_(shape), parameters_(upload(ctx, dtype, parameters, 1)) {
  const index_t in = shape.widths.front(), out = shape.widths.back();
  Random random(2);
  std::vector<double> input, target;
  for (index_t i = 0; i < shape.rows * in; ++i) {
    input.push_back(static_cast<float>(2 * random.uniform()));
  }
  for (index_t r = 0; r < shape.rows; ++r) {
    const auto label = static_cast<index_t>(random.bits() % static_cast<std::uint64_t>(out));
    for (index_t j = 0; j < out; ++j) target.push_back(j == label ? 1 : 0);
  }
  input_ = upload(ctx, dtype, input, shape.rows);
  target_ = upload(ctx, dtype, target, shape.rows);
}

MlpObjective MlpProblem::objective() const {
  std::vector<MlpLayer> layers;
  index_t offset = 0;
  for (std::size_t l = 0; l < shape_.depth(); ++l) {
    const index_t in = shape_.widths[l], out = shape_.widths[l + 1];
    const TensorView bias = select(narrow(parameters_, 1, offset + out * in, out), 0, 0);
    const bool last = l + 1 == shape_.depth();
    layers.push_back({matrix(parameters_, offset, out, in), bias,
                      last ? Activation::identity : shape_.activation});
    offset += out * (in + 1);
  }
  const double mean = 1 / static_cast<double>(shape_.rows);
  return {ctx_,
          std::move(layers),
          {.input = input_, .target = target_, .loss = shape_.loss, .scale = mean}};
}

Tensor upload(const Context& ctx, DType dtype, const std::vector<double>& values, index_t rows) {
  const index_t n = std::ssize(values) / rows;
  const Tensor host({}, dtype, {rows, n});
  for (index_t r = 0; r < rows; ++r) {
    const TensorView row = select(host, 0, r);
    for (index_t i = 0; i < n; ++i)
      set_element(row, i, values[static_cast<std::size_t>(r * n + i)]);
  }
  return to_device(ctx, host, ctx.device);
}

std::vector<double> download(const Context& ctx, const TensorView& t) {
  const Tensor host = to_host(ctx, t);
  std::vector<double> values;
  for_each_row(host, [&](const TensorView& row) {
    for (index_t i = 0; i < row.shape[0]; ++i) values.push_back(element(row, i));
  });
  return values;
}

}  // namespace hesscope::bench
