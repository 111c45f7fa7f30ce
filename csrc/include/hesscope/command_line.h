#pragma once

#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "hesscope/types.h"

namespace hesscope {

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

/// Read a command line: every word is a flag or a value of one. Throws UsageError.
void parse_flags(int argc, char** argv, const std::vector<Flag>& flags);

/// Print what a program does, its flags and a last line.
void print_usage(std::string_view program, std::string_view summary, std::string_view last,
                 const std::vector<Flag>& flags);

/// A whole number such as 1000 or 2^20 in [low, high]; UsageError naming the flag otherwise.
index_t parse_integer(std::string_view flag, const std::string& text, index_t low,
                      index_t high = std::numeric_limits<index_t>::max());

}  // namespace hesscope
