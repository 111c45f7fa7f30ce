#include "bench.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <new>

#include "environment.h"
#include "hesscope/buffer.h"
#include "hesscope/build.h"
#include "hesscope/error.h"
#include "hesscope/json.h"

namespace hesscope::bench {
namespace {

void print_time(double seconds) {
  const double scale = seconds < 1e-3 ? 1e6 : seconds < 1 ? 1e3 : 1;
  const char* unit = seconds < 1e-3 ? "us" : seconds < 1 ? "ms" : "s ";
  std::printf(" %8.3f %s", seconds * scale, unit);
}

}  // namespace

std::string Case::text() const {
  std::string text = op;
  for (const auto& [name, value] : label) text.append(" ").append(name).append("=").append(value);
  return text;
}

Suite::Suite(std::string name, Options options)
    : name_(std::move(name)), options_(std::move(options)) {
  std::printf("%s, hesscope %s (%s), %s, backend %s, %d threads\n", name_.c_str(),
              build_info().version.c_str(), HESSCOPE_COMMIT, cpu_name().c_str(),
              std::string(name_of(options_.backend)).c_str(), options_.threads);
}

std::vector<DType> Suite::dtypes() const {
  if (!options_.dtypes.empty()) return options_.dtypes;
  if (check()) return {DType::f32, DType::f64};
  return {DType::f32};
}

Context Suite::context(std::span<std::byte> workspace) const {
  return {.backend = options_.backend,
          .device = device_of(options_.backend),
          .stream = nullptr,
          .workspace = workspace,
          .num_threads = options_.threads};
}

Context Suite::reference(std::span<std::byte> workspace) const {
  return {.backend = Backend::reference,
          .device = {},
          .stream = nullptr,
          .workspace = workspace,
          .num_threads = 1};
}

bool Suite::wants(const Case& c) const {
  return options_.filter.empty() || c.text().find(options_.filter) != std::string::npos;
}

int Suite::num_sets(double bytes_per_set) const {
  if (check()) return 1;
  const double wanted = 2 * static_cast<double>(cache_bytes(options_.backend)) / bytes_per_set;
  return static_cast<int>(std::clamp(std::ceil(wanted), 1.0, 256.0));
}

void Suite::verify(const Case& c, const std::function<double()>& error_over_bound) {
  Row& row = row_of(c);
  row.error_over_bound = error_over_bound();
  if (row.error_over_bound <= 1) return;  // a NaN is wrong
  ++failures_;
  char message[64];
  std::snprintf(message, sizeof message, "error is %.3g times its bound", row.error_over_bound);
  if (!check()) throw WrongResult(c.text() + ": " + message);
  std::printf("WRONG %s: %s\n", c.text().c_str(), message);
}

void Suite::time(const Case& c, int num_sets, const std::function<void(int)>& run) {
  if (check()) return;
  const Context ctx = context();
  if (!copy_) {
    copy_.emplace(ctx);
    copy_now_ = copy_->measure(options_.min_time);
    std::printf("%-56s %11s %23s %8s %6s %6s %6s\n", "case", "median", "p10 to p90", "GB/s", "copy",
                "% copy", "noise");
  }
  Row& row = row_of(c);
  row.timing = measure(ctx, run, num_sets, options_.min_time);
  row.timed = true;
  const double copy_before = copy_now_;
  copy_now_ = copy_->measure(options_.min_time / 2);
  row.copy = (copy_before + copy_now_) / 2;
  const double rate = c.bytes / row.timing.median;
  std::printf("%-56s", c.text().c_str());
  print_time(row.timing.median);
  print_time(row.timing.p10);
  print_time(row.timing.p90);
  if (c.bytes > 0) {
    std::printf(" %8.2f %6.2f %5.0f%%", rate * 1e-9, row.copy * 1e-9, 100 * rate / row.copy);
  } else {
    std::printf(" %8s %6s %6s", "-", "-", "-");
  }
  std::printf(" %5.1f%%\n", 100 * row.timing.noise);
  std::fflush(stdout);
}

void Suite::note(const std::string& name, double value, const char* unit) {
  rows_.back().notes.emplace_back(name, json_number(value));
  if (!check()) std::printf("    %-40s %.6g %s\n", name.c_str(), value, unit);
}

void Suite::note_json(const std::string& name, const std::string& json) {
  rows_.back().notes.emplace_back(name, json);
}

Suite::Row& Suite::row_of(const Case& c) {
  if (rows_.empty() || rows_.back().c.text() != c.text()) {
    rows_.push_back(
        {.c = c, .error_over_bound = 0, .timed = false, .timing = {}, .copy = 0, .notes = {}});
  }
  return rows_.back();
}

std::string Suite::row_json(const Row& row) const {
  JsonObject object;
  object.add("op", row.c.op);
  for (const auto& [name, value] : row.c.label) object.add(name, value);
  object.add("error_over_bound", row.error_over_bound);
  if (row.timed) {
    object.add("median_s", row.timing.median).add("p10_s", row.timing.p10);
    object.add("p90_s", row.timing.p90).add("noise", row.timing.noise);
    object.add("samples", static_cast<double>(row.timing.samples));
    if (row.c.bytes > 0) {
      const double rate = row.c.bytes / row.timing.median;
      object.add("bytes", row.c.bytes).add("gb_per_s", rate * 1e-9);
      object.add("copy_gb_per_s", row.copy * 1e-9).add("percent_of_copy", 100 * rate / row.copy);
    }
    if (row.c.flops > 0) {
      object.add("flops", row.c.flops);
      object.add("gflop_per_s", row.c.flops / row.timing.median * 1e-9);
    }
  }
  for (const auto& [name, json] : row.notes) object.raw(name, json);
  return object.str();
}

int Suite::finish() {
  if (check()) std::printf("%zu cases verified, %d wrong\n", rows_.size(), failures_);
  if (rows_.empty()) throw UsageError("no case matches --filter " + options_.filter);
  if (options_.json.empty()) return failures_ == 0 ? 0 : 1;

  std::vector<std::string> cases;
  for (const Row& row : rows_) cases.push_back(row_json(row));
  JsonObject file;
  file.add("suite", name_).raw("environment", environment_json(options_.backend, options_.threads));
  file.raw("cases", json_array(cases));
  std::ofstream out(options_.json);
  out << file.str() << '\n';
  out.close();
  HESSCOPE_CHECK(ValueError, out.good(), "--json: cannot write ", options_.json);
  return failures_ == 0 ? 0 : 1;
}

int run_main(const char* name, const char* summary, int argc, char** argv,
             const std::function<void(Suite&)>& body, std::vector<Flag> extra) {
  try {
    const Options options = parse_options(name, summary, argc, argv, std::move(extra));
    if (options.help) return 0;
    Suite suite(name, options);
    body(suite);
    return suite.finish();
  } catch (const WrongResult& error) {
    std::fprintf(stderr, "%s: wrong result: %s\n", name, error.what());
    return 1;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "%s: %s (see --help)\n", name, error.what());
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: %s\n", name, error.what());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "%s: there is not enough memory for this problem\n", name);
  }
  return 2;
}

}  // namespace hesscope::bench
