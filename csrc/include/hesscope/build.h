#pragma once

#include <string>

namespace hesscope {

/// What this library was built with.
struct BuildInfo {
  std::string version;
  std::string compiler;
  std::string cuda;       // "off", "emulated" or the version of the toolkit
  std::string blas;       // "own", or the library that the CPU's matrix products go to
  std::string cpu_level;  // the instruction set chosen on this machine, e.g. "x86-64-v3"
};

BuildInfo build_info();

}  // namespace hesscope
