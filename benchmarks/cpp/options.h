#pragma once

#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "hesscope/types.h"

namespace hesscope::bench {

/// The command line is wrong: printed with a hint at --help, exit code 2.
class UsageError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A command-line option and what to do with its values.
struct Flag {
  std::string name;         // with its dashes
  std::string values;       // as usage shows them, "N NNZ"; their number is the number of words
  std::string description;  // one line
  std::function<void(const std::vector<std::string>&)> set;
};

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

/// A whole number such as 1000 or 2^20 in [low, high]; UsageError naming the flag otherwise.
index_t parse_integer(std::string_view flag, const std::string& text, index_t low,
                      index_t high = std::numeric_limits<index_t>::max());

std::string_view name_of(DType dtype);
std::string_view name_of(Backend backend);

}  // namespace hesscope::bench
