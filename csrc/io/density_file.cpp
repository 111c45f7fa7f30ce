#include "hesscope/density_file.h"

#include <array>
#include <cstdio>

#include "hesscope/build.h"
#include "hesscope/error.h"
#include "hesscope/json.h"
#include "hesscope/safetensors.h"

namespace hesscope {
namespace {

constexpr int kSchema = 1;

/// CRC-32 of ISO 3309, as zlib computes it.
class Checksum {
 public:
  void add(std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) {
      crc_ ^= static_cast<std::uint32_t>(byte);
      for (int bit = 0; bit < 8; ++bit) crc_ = (crc_ >> 1) ^ (0xedb88320U & (0U - (crc_ & 1U)));
    }
  }

  std::string text() const {
    std::array<char, 9> digits{};
    std::snprintf(digits.data(), digits.size(), "%08x", ~crc_);
    return digits.data();
  }

 private:
  std::uint32_t crc_ = ~0U;
};

TensorView matrix(const std::vector<double>& values, index_t rows, index_t columns) {
  TensorView view;
  view.data = const_cast<double*>(values.data());  // an input: not written
  view.dtype = DType::f64;
  view.ndim = 2;
  view.shape = {rows, columns};
  view.stride = {columns, 1};
  return view;
}

std::string settings_json(const LanczosOptions& options) {
  const bool full = options.reorthogonalize == Reorthogonalize::full;
  const bool gaussian = options.kind == ProbeKind::gaussian;
  return JsonObject()
      .raw("num_probes", std::to_string(options.num_probes))
      .raw("num_steps", std::to_string(options.num_steps))
      .raw("seed", std::to_string(options.seed))
      .add("reorthogonalize", full ? "full" : "none")
      .add("distribution", gaussian ? "gaussian" : "rademacher")
      .raw("tol", "null")
      .raw("bounds", "null")
      .str();
}

std::string description_of(const DensityRecord& record, index_t steps) {
  const LanczosRun& run = record.run;
  const bool full = record.options.reorthogonalize == Reorthogonalize::full;
  const BuildInfo build = build_info();
  return JsonObject()
      .raw("schema", std::to_string(kSchema))
      .add("kind", "spectral_density")
      .raw("versions",
           JsonObject().add("hesscope", build.version).add("compiler", build.compiler).str())
      .raw("n", std::to_string(run.n))
      .raw("products", std::to_string(record.products))
      .add("seconds", record.seconds)
      .raw("memory_bytes", std::to_string(static_cast<index_t>(record.memory_bytes)))
      .raw("orthogonality", "null")
      .raw("projections", std::to_string(full ? steps : 0))
      .raw("basis", "null")
      .add("status", all_ended(run) ? "INVARIANT_SUBSPACE" : "COMPLETE")
      .raw("settings", settings_json(record.options))
      .raw("operator", record.operator_json)
      .str();
}

}  // namespace

void write_density(const std::string& path, const DensityRecord& record) {
  const index_t k = record.run.num_probes, m = record.run.num_steps;
  const NamedTensors tensors = {{"alpha", matrix(record.run.alpha, k, m)},
                                {"beta", matrix(record.run.beta, k, m)}};
  const std::string text = description_of(record, m);
  Checksum checksum;
  checksum.add(std::as_bytes(std::span(text)));
  for (const auto& [name, view] : tensors) checksum.add(packed_bytes(view));
  write_safetensors(path, {{"hesscope", text}, {"crc32", checksum.text()}}, tensors);
}

}  // namespace hesscope
