/// What a step costs in the Trainer, over the same step in a loop of LibTorch alone.
///
///   benchmark_step_cost [--steps 20000] [--repeats 5]
///
/// A linear layer from 32 to 2 on 4096 random samples, batch 32, fused SGD, one thread: a step so
/// short that the framework shows. The Trainer runs with its defaults (two loggers, a row every 50
/// steps, progress bar, checkpoint at the end). The variants take turns in each repeat; the table
/// has medians, lowest to highest.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/ops/_fused_sgd.h>

#include <lightning/lightning.h>

namespace benchmark_step_cost {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kSamples = 4096;
constexpr int64_t kInputs = 32;
constexpr int64_t kBatchSize = 32;
constexpr int64_t kWarmup = 1000;  // steps
constexpr double kLearningRate = 1e-3;

at::Tensor random_inputs() { return torch::randn({kSamples, kInputs}); }

at::Tensor loss_of(torch::nn::Linear& layer, const at::Tensor& input) {
  return layer->forward(input).square().mean();
}

double microseconds_per_step(Clock::time_point begin, Clock::time_point end, int64_t steps) {
  return std::chrono::duration<double, std::micro>(end - begin).count() /
         static_cast<double>(steps);
}

/// The least a loop can do; batches are an index_select from memory.
double run_bare_loop(int64_t steps) {
  torch::nn::Linear layer(kInputs, 2);
  std::vector<at::Tensor> parameters = layer->parameters();
  std::vector<at::Tensor> gradients(parameters.size());
  const at::Tensor inputs = random_inputs();
  at::Tensor order;
  Clock::time_point begin;
  int64_t position = kSamples;
  for (int64_t step = 0; step < kWarmup + steps; ++step) {
    if (step == kWarmup) begin = Clock::now();
    if (position == kSamples) {
      order = torch::randperm(kSamples);
      position = 0;
    }
    const at::Tensor batch =
        inputs.index_select(0, order.slice(0, position, position + kBatchSize));
    position += kBatchSize;
    loss_of(layer, batch).backward();
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < parameters.size(); ++i) {
      gradients[i] = parameters[i].grad();
      parameters[i].mutable_grad().reset();
    }
    at::_fused_sgd_(parameters, gradients, /*momentum_buffer_list=*/{}, /*weight_decay=*/0.0,
                    /*momentum=*/0.0, kLearningRate, /*dampening=*/0.0, /*nesterov=*/false,
                    /*maximize=*/false, /*is_first_step=*/false);
  }
  return microseconds_per_step(begin, Clock::now(), steps);
}

class Layer : public lightning::LightningModule {
 public:
  explicit Layer(int64_t logged_values) {
    register_module("layer", layer_);
    for (int64_t i = 0; i < logged_values; ++i) names_.push_back("value" + std::to_string(i));
  }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    const at::Tensor loss = loss_of(layer_, batch["x"]);
    for (const std::string& name : names_) log(name, loss);
    return loss;
  }
  lightning::OptimizerList configure_optimizers() override {
    return std::make_shared<lightning::optim::SGD>(parameters(),
                                                   torch::optim::SGDOptions(kLearningRate));
  }

 private:
  torch::nn::Linear layer_{kInputs, 2};
  std::vector<std::string> names_;
};

class StepClock : public lightning::Callback {
 public:
  explicit StepClock(int64_t last_step) : last_step_(last_step) {}
  void on_train_batch_end(lightning::TrainerContext& trainer, lightning::LightningModule&,
                          const lightning::StepOutput&, const lightning::Batch&, int64_t) override {
    if (trainer.global_step() == kWarmup) begin = Clock::now();
    if (trainer.global_step() == last_step_) end = Clock::now();
  }
  Clock::time_point begin, end;

 private:
  int64_t last_step_;
};

double run_trainer(int64_t steps, int64_t logged_values, lightning::Callbacks callbacks) {
  const std::filesystem::path folder = "build/benchmarks/step_cost";
  lightning::TrainerOptions options;
  options.accelerator = "cpu";
  options.max_steps = kWarmup + steps;
  options.default_root_dir = folder;
  const auto clock = std::make_shared<StepClock>(options.max_steps);
  callbacks.push_back(clock);
  const auto data =
      std::make_shared<lightning::TensorDataset>(lightning::Batch({{"x", random_inputs()}}));
  const auto loader = std::make_shared<lightning::DataLoader>(
      data, lightning::DataLoaderOptions{.batch_size = kBatchSize, .shuffle = true});
  lightning::Trainer trainer(options, std::move(callbacks));
  trainer.fit(std::make_shared<Layer>(logged_values), loader);
  std::filesystem::remove_all(folder);
  return microseconds_per_step(clock->begin, clock->end, steps);
}

/// They override no hook.
lightning::Callbacks idle_callbacks(size_t count) {
  lightning::Callbacks callbacks;
  while (callbacks.size() < count) callbacks.push_back(std::make_shared<lightning::Callback>());
  return callbacks;
}

struct Variant {
  std::string_view name;
  std::function<double(int64_t steps)> run;  // microseconds per step
  std::vector<double> samples = {};
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void print(const std::vector<Variant>& variants) {
  const double bare = median(variants.front().samples);
  std::printf("\n| a step of | us | over the bare loop, us |\n| --- | --- | --- |\n");
  for (const Variant& variant : variants) {
    const auto [low, high] = std::minmax_element(variant.samples.begin(), variant.samples.end());
    const double middle = median(variant.samples);
    std::printf("| %s | %.1f (%.1f to %.1f) | %.1f |\n", std::string(variant.name).c_str(), middle,
                *low, *high, middle - bare);
  }
}

int64_t argument(int argc, char** argv, std::string_view name, int64_t fallback) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (argv[i] == name) return std::max<int64_t>(std::atoll(argv[i + 1]), 1);
  }
  return fallback;
}

int run(int argc, char** argv) {
  const int64_t steps = argument(argc, argv, "--steps", 20000);
  const int64_t repeats = argument(argc, argv, "--repeats", 5);
  at::set_num_threads(1);
  std::vector<Variant> variants;
  variants.push_back({"the bare loop", run_bare_loop});
  variants.push_back({"the Trainer", [](int64_t n) { return run_trainer(n, 0, {}); }});
  variants.push_back({"the Trainer with ten more callbacks",
                      [](int64_t n) { return run_trainer(n, 0, idle_callbacks(10)); }});
  variants.push_back(
      {"the Trainer with four logged values", [](int64_t n) { return run_trainer(n, 4, {}); }});
  variants.push_back({"the Trainer with EMAWeightAveraging", [](int64_t n) {
                        return run_trainer(n, 0,
                                           {std::make_shared<lightning::EMAWeightAveraging>()});
                      }});
  for (int64_t repeat = 0; repeat < repeats; ++repeat) {
    for (size_t i = 0; i < variants.size(); ++i) {
      Variant& variant = variants[(i + static_cast<size_t>(repeat)) % variants.size()];
      variant.samples.push_back(variant.run(steps));
    }
  }
  print(variants);
  return 0;
}

}  // namespace
}  // namespace benchmark_step_cost

int main(int argc, char** argv) { return benchmark_step_cost::run(argc, argv); }
