#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hesscope/context.h"
#include "options.h"
#include "timing.h"

namespace hesscope::bench {

/// One problem: what is printed about it, and what it must move and compute.
struct Case {
  std::string op;
  std::vector<std::pair<std::string, std::string>> label;  // sizes and dtypes
  double bytes = 0;  // read and written, at least; 0 where memory is not what limits
  double flops = 0;  // 0: not counted

  /// "multi_dot dtype=float32 k=8 n=1000"
  std::string text() const;
};

/// A result is wrong: exit code 1.
class WrongResult : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Runs the cases of an executable: each is verified first, then timed; prints a table and writes
/// JSON. With --check it only verifies, and goes on after a wrong result.
class Suite {
 public:
  Suite(std::string name, Options options);

  const Options& options() const { return options_; }
  bool check() const { return options_.check; }
  std::vector<DType> dtypes() const;

  /// The backend under test, and the serial oracle on the host.
  Context context(std::span<std::byte> workspace = {}) const;
  Context reference(std::span<std::byte> workspace = {}) const;

  bool wants(const Case& c) const;

  /// Sets of inputs to go round so that they come from memory: together at least twice the cache.
  int num_sets(double bytes_per_set) const;

  /// `error_over_bound()` > 1 or NaN is a wrong result. Wrong code is never timed.
  void verify(const Case& c, const std::function<double()>& error_over_bound);

  /// Does nothing with --check.
  void time(const Case& c, int num_sets, const std::function<void(int)>& run);

  /// Seconds of the case last timed.
  double median() const { return rows_.back().timing.median; }

  /// Attach a number, or a piece of JSON that is not printed, to the case last timed or verified.
  void note(const std::string& name, double value, const char* unit = "");
  void note_json(const std::string& name, const std::string& json);

  /// Print the summary, write the file; the exit code. Throws Error if the file cannot be written.
  int finish();

 private:
  struct Row {
    Case c;
    double error_over_bound = 0;
    bool timed = false;
    Timing timing;
    double copy = 0;  // bytes a second of a copy just before and just after, their mean
    std::vector<std::pair<std::string, std::string>> notes;
  };

  Row& row_of(const Case& c);
  std::string row_json(const Row& row) const;

  std::string name_;
  Options options_;
  std::optional<CopyCeiling> copy_;  // made for the first case that is timed
  double copy_now_ = 0;              // bytes a second, when it was last measured
  int failures_ = 0;
  std::vector<Row> rows_;
};

/// The main function of every executable: parse, run, and turn exceptions into exit codes.
/// `extra` are flags of its own.
int run_main(const char* name, const char* summary, int argc, char** argv,
             const std::function<void(Suite&)>& body, std::vector<Flag> extra = {});

}  // namespace hesscope::bench
