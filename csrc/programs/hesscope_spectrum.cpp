// The spectrum of the Hessian of a dense network, from files to a results file, without Python.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <new>
#include <optional>
#include <sstream>
#include <thread>

#include "hesscope/buffer.h"
#include "hesscope/command_line.h"
#include "hesscope/density_file.h"
#include "hesscope/error.h"
#include "hesscope/json.h"
#include "hesscope/mlp_hessian.h"
#include "hesscope/quadrature.h"
#include "network_file.h"

namespace hesscope {
namespace {

constexpr const char* kProgram = "hesscope_spectrum";

struct Settings {
  std::string weights, data, out;
  std::vector<std::string> layers, activations = {"tanh"};
  MlpLoss loss = MlpLoss::cross_entropy;
  bool mean = true, progress = false, help = false;
  Backend backend = Backend::cpu;
  int threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  LanczosOptions lanczos;
};

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, ',');) words.push_back(word);
  return words;
}

/// The position of a word among the choices, or UsageError.
std::size_t choice(const char* flag, const std::string& word,
                   const std::vector<std::string>& choices) {
  std::string list;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (choices[i] == word) return i;
    list.append(i == 0 ? "" : " or ").append(choices[i]);
  }
  throw UsageError(std::string(flag) + " must be " + list + ", got " + word);
}

std::vector<Flag> flags(Settings& s) {
  constexpr index_t kMostProbes = (index_t{1} << 32) - 1;
  return {
      {"--weights", "FILE", "the network: a state_dict in a safetensors file",
       [&](const auto& v) { s.weights = v[0]; }},
      {"--data", "FILE", "inputs and targets in a safetensors file",
       [&](const auto& v) { s.data = v[0]; }},
      {"--out", "FILE", "the results file to write; hesscope.load reads it",
       [&](const auto& v) { s.out = v[0]; }},
      {"--activation", "NAMES",
       "of the hidden layers (default tanh), or one a layer: relu,tanh,...",
       [&](const auto& v) { s.activations = split(v[0]); }},
      {"--layers", "NAMES", "the layers in their order: 0,2,4; default: all, by their numbers",
       [&](const auto& v) { s.layers = split(v[0]); }},
      {"--loss", "NAME", "cross_entropy (default) or squared_error",
       [&](const auto& v) {
         const bool squares = choice("--loss", v[0], {"cross_entropy", "squared_error"}) == 1;
         s.loss = squares ? MlpLoss::squared_error : MlpLoss::cross_entropy;
       }},
      {"--reduction", "NAME", "mean (default) or sum, as PyTorch's losses have it",
       [&](const auto& v) { s.mean = choice("--reduction", v[0], {"mean", "sum"}) == 0; }},
      {"--probes", "K", "random vectors; default 4",
       [&](const auto& v) {
         s.lanczos.num_probes = parse_integer("--probes", v[0], 1, kMostProbes);
       }},
      {"--steps", "M", "products with each of them; default 100",
       [&](const auto& v) { s.lanczos.num_steps = parse_integer("--steps", v[0], 1); }},
      {"--seed", "S", "of the probes; default 0",
       [&](const auto& v) {
         s.lanczos.seed = static_cast<std::uint64_t>(parse_integer("--seed", v[0], 0));
       }},
      {"--distribution", "NAME", "rademacher (default) or gaussian probes",
       [&](const auto& v) {
         const bool normal = choice("--distribution", v[0], {"rademacher", "gaussian"}) == 1;
         s.lanczos.kind = normal ? ProbeKind::gaussian : ProbeKind::rademacher;
       }},
      {"--device", "NAME", "cpu (default) or cuda",
       [&](const auto& v) {
         s.backend = choice("--device", v[0], {"cpu", "cuda"}) == 1 ? Backend::cuda : Backend::cpu;
       }},
      {"--threads", "T", "of the CPU; default all",
       [&](const auto& v) {
         s.threads = static_cast<int>(parse_integer("--threads", v[0], 1, 1024));
       }},
      {"--progress", "", "count the steps on stderr", [&](const auto&) { s.progress = true; }},
      {"--help", "", "print this", [&](const auto&) { s.help = true; }},
  };
}

/// Before anything is computed: a run whose result cannot be written is lost.
void check_paths(const Settings& s) {
  if (s.weights.empty() || s.data.empty() || s.out.empty()) {
    throw UsageError("--weights, --data and --out must be given");
  }
  namespace fs = std::filesystem;
  std::error_code ignored;
  const fs::path folder = fs::absolute(s.out, ignored).parent_path();
  HESSCOPE_CHECK(ValueError, fs::is_directory(folder, ignored), "--out: there is no folder ",
                 folder.string());
  HESSCOPE_CHECK(ValueError, !fs::is_directory(s.out, ignored), "--out: ", s.out, " is a folder");
  for (const std::string& input : {s.weights, s.data}) {
    HESSCOPE_CHECK(ValueError, !fs::equivalent(s.out, input, ignored), "--out: ", s.out,
                   " is a file that is read; the results need one of their own");
  }
}

std::string operator_json(const Settings& s, const Network& network, index_t n, index_t rows) {
  std::vector<std::string> widths, activations;
  for (const index_t width : network.widths()) widths.push_back(std::to_string(width));
  for (const MlpLayer& layer : network.layers) {
    activations.push_back(json_string(name_of(layer.activation)));
  }
  const bool entropy = s.loss == MlpLoss::cross_entropy;
  const std::string objective = JsonObject()
                                    .add("model", "dense network")
                                    .raw("n", std::to_string(n))
                                    .raw("widths", json_array(widths))
                                    .raw("activations", json_array(activations))
                                    .add("loss", entropy ? "cross_entropy" : "squared_error")
                                    .add("reduction", s.mean ? "mean" : "sum")
                                    .raw("examples", std::to_string(rows))
                                    .str();
  return JsonObject()
      .add("operator", "hessian")
      .raw("n", std::to_string(n))
      .add("dtype", std::string("torch.") + name_of(network.dtype()))
      .add("engine", "native")
      .raw("objective", objective)
      .str();
}

/// The numbers of the Python package's SpectralDensity, and its intervals but for the trace:
/// Student's here, there longer on the side on which the samples are skewed.
void print_summary(const DensityRecord& record, const Quadrature& q) {
  const LanczosRun& run = record.run;
  const auto n = static_cast<double>(run.n);
  std::vector<double> traces;
  for (index_t k = 0; k < run.num_probes; ++k) traces.push_back(n * run.alpha[k * run.num_steps]);
  const Estimate trace = mean_estimate(traces);
  const SpectrumBounds bounds = random_start_bounds(run, q);
  double low = q.nodes[0], high = q.nodes[0], distance = 0;
  for (const double node : q.nodes) low = std::fmin(low, node), high = std::fmax(high, node);
  for (index_t k = 0; k < run.num_probes; ++k) {
    const double bound =
        wasserstein_bound(q.nodes_of(k), q.weights_of(k), bounds.lower, bounds.upper);
    distance += bound / static_cast<double>(run.num_probes);
  }
  std::printf("probes %lld, steps %lld, products %lld, seconds %.3g\n",
              static_cast<long long>(run.num_probes), static_cast<long long>(run.num_steps),
              static_cast<long long>(record.products), record.seconds);
  std::printf("trace %.10g +- %.10g (95 %% t-interval across probes)\n", trace.value, trace.error);
  std::printf("smallest eigenvalue %.10g, above %.10g (random starts, 95 %%)\n", low, bounds.lower);
  std::printf("largest eigenvalue %.10g, below %.10g (random starts, 95 %%)\n", high, bounds.upper);
  std::printf("quadrature within %.10g (Wasserstein-1, mean over the probes)\n", distance);
}

void run(const Settings& s, const Context& ctx, const Network& network, const TrainingData& data) {
  const auto start = std::chrono::steady_clock::now();
  const auto entries = static_cast<double>(
      data.rows() * (s.loss == MlpLoss::squared_error ? network.widths().back() : 1));
  const MlpHessian hessian(ctx, network.layers,
                           {.input = data.input,
                            .target = data.target,
                            .loss = s.loss,
                            .scale = s.mean ? 1 / entries : 1});
  HESSCOPE_CHECK(ValueError, std::isfinite(hessian.loss()), "the loss must be finite, got ",
                 hessian.loss());
  LanczosOptions options = s.lanczos;
  const index_t steps = std::min(options.num_steps, hessian.size());
  if (s.progress) {
    options.on_step = [steps](index_t done) {
      std::fprintf(stderr, "\rstep %lld of %lld%s", static_cast<long long>(done),
                   static_cast<long long>(steps), done == steps ? "\n" : "");
    };
  }
  if (lanczos_bytes(hessian, options) > 0x1p60) throw std::bad_alloc();  // before sizes overflow
  const LanczosRun whole = lanczos(ctx, hessian, options);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const DensityRecord record{
      .run = without_padding(whole),
      .options = s.lanczos,
      .seconds = seconds.count(),
      .memory_bytes = lanczos_bytes(hessian, options),
      .products = whole.num_probes * whole.num_steps,
      .operator_json = operator_json(s, network, hessian.size(), data.rows())};
  write_density(s.out, record);
  std::printf("loss %.10g, parameters %lld\n", hessian.loss(),
              static_cast<long long>(hessian.size()));
  print_summary(record, quadrature(ctx, record.run));
}

int main_of(int argc, char** argv) {
  bool reading = true;  // bad flags or files; from then on the run itself
  try {
    Settings s;
    const std::vector<Flag> options = flags(s);
    parse_flags(argc, argv, options);
    if (s.help) {
      print_usage(
          kProgram, "the spectrum of the Hessian of a dense network",
          "Exit code: 0 the results file is written, 1 the run failed, 2 bad flags or input.",
          options);
      return 0;
    }
    check_paths(s);
    const Context ctx{.backend = s.backend,
                      .device = device_of(s.backend),
                      .stream = nullptr,
                      .workspace = {},
                      .num_threads = s.threads};
    const Network network = read_network(ctx, s.weights, s.layers, s.activations);
    const TrainingData data = read_data(ctx, s.data, network, s.loss);
    reading = false;
    run(s, ctx, network, data);
    return 0;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "%s: %s (see --help)\n", kProgram, error.what());
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: %s\n", kProgram, error.what());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "%s: there is not enough memory for this network, batch and probes\n",
                 kProgram);
  }
  return reading ? 2 : 1;
}

}  // namespace
}  // namespace hesscope

int main(int argc, char** argv) { return hesscope::main_of(argc, argv); }
