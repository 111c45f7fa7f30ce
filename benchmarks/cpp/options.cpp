#include "options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <thread>

namespace hesscope::bench {
namespace {

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

  parse_flags(argc, argv, flags);
  if (options.help) {
    print_usage(program, summary,
                "Exit code: 0 all is well, 1 a result is wrong, 2 bad flags or input.", flags);
  }
  return options;
}

}  // namespace hesscope::bench
