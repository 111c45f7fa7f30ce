#pragma once

#include <string>

#include "hesscope/lanczos_run.h"

namespace hesscope {

/// What a results file of a density says beside its numbers.
struct DensityRecord {
  LanczosRun run;
  LanczosOptions options;
  double seconds = 0, memory_bytes = 0;
  index_t products = 0;
  std::string operator_json;  // what the operator says about itself: members of an object
};

/// Write a results file (schema 1 of the Python package: a safetensors file with the coefficients
/// and a JSON description with a checksum), whole or not at all. `hesscope.load` reads it as the
/// SpectralDensity that the same run in Python returns.
/// Throws ValueError naming the file.
void write_density(const std::string& path, const DensityRecord& record);

}  // namespace hesscope
