#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hesscope/command_line.h"
#include "hesscope/types.h"

namespace hesscope::bench {

using hesscope::Flag;
using hesscope::name_of;
using hesscope::parse_integer;
using hesscope::UsageError;

/// What every benchmark executable understands.
struct Options {
  Backend backend = Backend::cpu;
  std::vector<DType> dtypes;  // empty: float32, and with --check float64 as well
  int threads = 1;
  std::string filter;
  double min_time = 0.5;  // seconds spent on each timed case
  std::string json;       // a file, or empty
  bool check = false;
  bool help = false;  // usage has been printed: there is nothing more to do
};

/// Read the command line. `extra` are the executable's own flags. Throws UsageError.
Options parse_options(std::string_view program, std::string_view summary, int argc, char** argv,
                      std::vector<Flag> extra = {});

}  // namespace hesscope::bench
