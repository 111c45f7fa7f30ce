#include "hesscope/command_line.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <sstream>

namespace hesscope {
namespace {

std::size_t count_words(const std::string& text) {
  std::istringstream stream(text);
  std::size_t words = 0;
  for (std::string word; stream >> word;) ++words;
  return words;
}

}  // namespace

void parse_flags(int argc, char** argv, const std::vector<Flag>& flags) {
  for (int i = 1; i < argc;) {
    const std::string name = argv[i++];
    const auto flag =
        std::find_if(flags.begin(), flags.end(), [&](const Flag& f) { return f.name == name; });
    if (flag == flags.end()) throw UsageError("there is no option " + name);
    std::vector<std::string> values;
    const std::size_t wanted = count_words(flag->values);
    while (values.size() < wanted && i < argc) values.emplace_back(argv[i++]);
    if (values.size() < wanted) throw UsageError(name + " needs " + flag->values);
    flag->set(values);
  }
}

void print_usage(std::string_view program, std::string_view summary, std::string_view last,
                 const std::vector<Flag>& flags) {
  std::printf("%s: %s\n\n", std::string(program).c_str(), std::string(summary).c_str());
  for (const Flag& flag : flags) {
    const std::string call = flag.name + (flag.values.empty() ? "" : " " + flag.values);
    std::printf("  %-24s %s\n", call.c_str(), flag.description.c_str());
  }
  std::printf("\n%s\n", std::string(last).c_str());
}

index_t parse_integer(std::string_view flag, const std::string& text, index_t low, index_t high) {
  const bool power = text.starts_with("2^");
  const char* begin = text.data() + (power ? 2 : 0);
  const char* end = text.data() + text.size();
  index_t value = 0;
  const auto [stop, error] = std::from_chars(begin, end, value);
  bool valid = error == std::errc() && stop == end;
  if (valid && power) {
    valid = value >= 0 && value < 63;
    value = valid ? index_t{1} << value : 0;
  }
  if (!valid || value < low || value > high) {
    std::ostringstream message;
    message << flag << " must be a whole number, at least " << low;
    if (high != std::numeric_limits<index_t>::max()) message << " and at most " << high;
    message << ", got " << text;
    throw UsageError(message.str());
  }
  return value;
}

}  // namespace hesscope
