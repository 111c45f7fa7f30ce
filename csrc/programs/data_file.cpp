#include <utility>

#include "hesscope/error.h"
#include "hesscope/safetensors.h"
#include "network_file.h"

namespace hesscope {
namespace {

constexpr const char *kInputs = "inputs", *kTargets = "targets";

const StoredTensor& required(const SafetensorsFile& file, const char* name) {
  const StoredTensor* t = file.find(name);
  HESSCOPE_CHECK(ValueError, t != nullptr, file.path(), ": ", name, " is missing");
  return *t;
}

void check_inputs(const SafetensorsFile& file, const StoredTensor& t, const Network& network) {
  const index_t width = network.widths().front();
  HESSCOPE_CHECK(ValueError, t.dtype == network.dtype(), file.path(),
                 ": inputs must have the dtype of the weights, ", name_of(network.dtype()),
                 ", got ", t.text());
  index_t features = 1;
  for (std::size_t d = 1; d < t.shape.size(); ++d) features *= t.shape[d];
  const bool valid = t.shape.size() >= 2 && t.shape[0] >= 1 && features == width;
  HESSCOPE_CHECK(ValueError, valid, file.path(), ": inputs must have shape [M, ", width,
                 "], M at least 1, got ", t.text());
}

/// A row with one entry, 1, for each class.
template <typename Label, typename T>
void write_rows(const SafetensorsFile& file, const TensorView& labels, const Tensor& rows) {
  const index_t classes = rows.view().shape[1];
  for (index_t r = 0; r < rows.view().shape[0]; ++r) {
    const auto label = static_cast<index_t>(static_cast<const Label*>(labels.data)[r]);
    HESSCOPE_CHECK(ValueError, label >= 0 && label < classes, file.path(),
                   ": targets must be classes from 0 to ", classes - 1, ", but entry ", r, " is ",
                   label);
    for (index_t c = 0; c < classes; ++c) rows.row<T>(r)[c] = c == label ? 1 : 0;
  }
}

Tensor rows_of_classes(const SafetensorsFile& file, const TensorView& labels, DType dtype,
                       index_t classes) {
  Tensor rows({}, dtype, {labels.shape[0], classes});
  const bool wide = labels.dtype == DType::i64;
  if (dtype == DType::f32) {
    wide ? write_rows<std::int64_t, float>(file, labels, rows)
         : write_rows<std::int32_t, float>(file, labels, rows);
  } else {
    wide ? write_rows<std::int64_t, double>(file, labels, rows)
         : write_rows<std::int32_t, double>(file, labels, rows);
  }
  return rows;
}

Tensor read_targets(SafetensorsFile& file, const Network& network, MlpLoss loss, index_t rows) {
  const StoredTensor& t = required(file, kTargets);
  const index_t width = network.widths().back();
  const bool labels = t.dtype == DType::i32 || t.dtype == DType::i64;
  const bool classes = labels && loss == MlpLoss::cross_entropy && t.shape == std::vector{rows};
  const bool values = t.dtype == network.dtype() && t.shape == std::vector{rows, width};
  const bool entropy = loss == MlpLoss::cross_entropy;
  HESSCOPE_CHECK(ValueError, classes || values, file.path(), ": targets must be ",
                 entropy ? "classes [M] of int32 or int64, or probabilities" : "values", " [M, ",
                 width, "] of ", name_of(network.dtype()), " with M = ", rows, ", got ", t.text());
  Tensor target = file.read(t);
  return classes ? rows_of_classes(file, target, network.dtype(), width) : std::move(target);
}

}  // namespace

TrainingData read_data(const Context& ctx, const std::string& path, const Network& network,
                       MlpLoss loss) {
  SafetensorsFile file(path);
  const StoredTensor& inputs = required(file, kInputs);
  for (const StoredTensor& t : file.tensors()) {
    HESSCOPE_CHECK(ValueError, t.name == kInputs || t.name == kTargets, path,
                   ": must hold inputs and targets and nothing else, got ", t.text());
  }
  check_inputs(file, inputs, network);
  const Tensor target = read_targets(file, network, loss, inputs.shape[0]);
  return {.input = to_device(ctx, file.read(inputs), ctx.device),
          .target = to_device(ctx, target, ctx.device)};
}

}  // namespace hesscope
