#include "options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <sstream>
#include <thread>

namespace hesscope::bench {
namespace {

std::size_t count_words(const std::string& text) {
  std::istringstream stream(text);
  std::size_t words = 0;
  for (std::string word; stream >> word;) ++words;
  return words;
}

void print_usage(std::string_view program, std::string_view summary,
                 const std::vector<Flag>& flags) {
  std::printf("%s: %s\n\n", std::string(program).c_str(), std::string(summary).c_str());
  for (const Flag& flag : flags) {
    const std::string call = flag.name + (flag.values.empty() ? "" : " " + flag.values);
    std::printf("  %-24s %s\n", call.c_str(), flag.description.c_str());
  }
  std::printf("\nExit code: 0 all is well, 1 a result is wrong, 2 bad flags or input.\n");
}

DType parse_dtype(const std::string& text) {
  if (text == "float32") return DType::f32;
  if (text == "float64") return DType::f64;
  throw UsageError("--dtype must be float32 or float64, got " + text);
}

Backend parse_backend(const std::string& text) {
  if (text == "cpu") return Backend::cpu;
  if (text == "reference") return Backend::reference;
  if (text == "cuda") return Backend::cuda;
  throw UsageError("--backend must be cpu, reference or cuda, got " + text);
}

double parse_seconds(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (!whole || !std::isfinite(value) || value < 0) {
    throw UsageError("--min-time must be a number of seconds, at least 0, got " + text);
  }
  return value;
}

std::vector<Flag> common_flags(Options& options) {
  return {
      {"--check", "", "only verify, on small and awkward sizes",
       [&](const auto&) { options.check = true; }},
      {"--backend", "NAME", "cpu (default), reference or cuda",
       [&](const auto& v) { options.backend = parse_backend(v[0]); }},
      {"--dtype", "NAME", "float32 or float64; default float32, with --check both",
       [&](const auto& v) { options.dtypes = {parse_dtype(v[0])}; }},
      {"--threads", "T", "threads of the cpu backend; default all",
       [&](const auto& v) {
         options.threads = static_cast<int>(parse_integer("--threads", v[0], 1, 1024));
       }},
      {"--filter", "TEXT", "only cases whose label contains TEXT, e.g. \"multi_dot dtype=float32\"",
       [&](const auto& v) { options.filter = v[0]; }},
      {"--min-time", "SECONDS", "time spent on each case; default 0.5",
       [&](const auto& v) { options.min_time = parse_seconds(v[0]); }},
      {"--json", "FILE", "write the results there as well",
       [&](const auto& v) { options.json = v[0]; }},
      {"--help", "", "print this", [&](const auto&) { options.help = true; }},
  };
}

}  // namespace

Options parse_options(std::string_view program, std::string_view summary, int argc, char** argv,
                      std::vector<Flag> extra) {
  Options options;
  options.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  std::vector<Flag> flags = std::move(extra);
  for (Flag& flag : common_flags(options)) flags.push_back(std::move(flag));

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
  if (options.help) print_usage(program, summary, flags);
  return options;
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

std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float32";
    case DType::f64:
      return "float64";
    case DType::bf16:
      return "bfloat16";
    case DType::i32:
      return "int32";
    case DType::i64:
      return "int64";
    case DType::u8:
      return "uint8";
  }
  return "?";
}

std::string_view name_of(Backend backend) {
  switch (backend) {
    case Backend::reference:
      return "reference";
    case Backend::cpu:
      return "cpu";
    case Backend::cuda:
      return "cuda";
  }
  return "?";
}

}  // namespace hesscope::bench
