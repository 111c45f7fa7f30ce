#include "timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>

#include "environment.h"

namespace hesscope::bench {
namespace {

constexpr double kSampleSeconds = 1e-3;

/// Runs calls and keeps the seconds of each sample.
class Sampler {
 public:
  Sampler(const Context& ctx, const std::function<void(int)>& run, int num_sets)
      : ctx_(ctx), run_(run), num_sets_(num_sets) {}

  /// Seconds a call takes, over `calls` calls in a row.
  double sample(index_t calls) {
    const auto begin = std::chrono::steady_clock::now();
    for (index_t i = 0; i < calls; ++i) {
      run_(next_set_);
      next_set_ = (next_set_ + 1) % num_sets_;
    }
    synchronize(ctx_);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    return elapsed.count() / static_cast<double>(calls);
  }

  std::vector<double> round(index_t calls, double seconds) {
    std::vector<double> samples;
    for (double spent = 0; samples.empty() || spent < seconds;) {
      samples.push_back(sample(calls));
      spent += samples.back() * static_cast<double>(calls);
    }
    return samples;
  }

 private:
  const Context& ctx_;
  const std::function<void(int)>& run_;
  int num_sets_, next_set_ = 0;
};

/// Linear between order statistics, as numpy.quantile.
double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double position = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return std::lerp(values[below], values[above], position - static_cast<double>(below));
}

}  // namespace

Timing measure(const Context& ctx, const std::function<void(int)>& run, int num_sets,
               double min_time) {
  Sampler sampler(ctx, run, num_sets);
  std::vector<double> first = {sampler.sample(1)};
  const bool long_call = first[0] >= min_time;
  const double estimate = long_call ? first[0] : sampler.sample(1);
  const auto calls = static_cast<index_t>(std::ceil(std::max(kSampleSeconds / estimate, 1.0)));
  if (!long_call) first = sampler.round(calls, min_time / 2);
  const std::vector<double> second = sampler.round(calls, long_call ? 0 : min_time / 2);

  std::vector<double> all = first;
  all.insert(all.end(), second.begin(), second.end());
  const double a = quantile(first, 0.5), b = quantile(second, 0.5);
  return {.median = quantile(all, 0.5),
          .p10 = quantile(all, 0.1),
          .p90 = quantile(all, 0.9),
          .noise = std::abs(a - b) / std::min(a, b),
          .samples = static_cast<index_t>(all.size())};
}

CopyCeiling::CopyCeiling(const Context& ctx) : ctx_(ctx) {
  constexpr index_t kMinimum = index_t{256} << 20;
  const index_t bytes = std::max(kMinimum, 4 * cache_bytes(ctx.backend));
  source_ = Buffer(ctx.device, bytes);
  target_ = Buffer(ctx.device, bytes);
  // Pages that were never written may all be one page of zeros.
  if (ctx.device.type == DeviceType::cpu) {
    std::memset(source_.data(), 1, static_cast<std::size_t>(bytes));
    std::memset(target_.data(), 1, static_cast<std::size_t>(bytes));
  }
}

void CopyCeiling::copy_all() const {
  const index_t bytes = source_.bytes();
  const index_t parts = ctx_.backend == Backend::cpu ? ctx_.num_threads : 1;
  const auto copy_part = [&](index_t part) {
    const index_t begin = bytes * part / parts, end = bytes * (part + 1) / parts;
    copy_bytes(ctx_, ctx_.device, target_.span().data() + begin, ctx_.device,
               source_.span().data() + begin, end - begin);
  };
  std::vector<std::thread> helpers;
  for (index_t part = 1; part < parts; ++part) helpers.emplace_back(copy_part, part);
  copy_part(0);
  for (std::thread& helper : helpers) helper.join();
}

double CopyCeiling::measure(double min_time) const {
  const Timing timing = bench::measure(ctx_, [this](int) { copy_all(); }, 1, min_time);
  return 2 * static_cast<double>(source_.bytes()) / timing.median;
}

}  // namespace hesscope::bench
