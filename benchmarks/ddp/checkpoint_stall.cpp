// How long a checkpoint delays training on two ranks, which this program starts itself.
//   benchmark_checkpoint_stall [REPEATS]
// A model of 21 M weights with AdamW (a checkpoint of 252 MB) is trained without checkpoints, with
// ones that are written in the step and with ones that are written behind its back; the three take
// turns in each repeat. Rank 0 prints medians over all checkpoints of a kind, lowest to highest:
//   stall           from the end of a step until the next one begins, as far as it is longer than
//                   without a checkpoint
//   delay in all    what the steps from one checkpoint to the next take longer than those before
//                   the first one
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <lightning/lightning.h>

namespace benchmark_checkpoint_stall {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kWidth = 1024;
constexpr int64_t kLayers = 20;
constexpr int64_t kEvery = 8;  // steps between checkpoints
constexpr int64_t kCheckpoints = 3;
constexpr int64_t kWarmup = 2;  // steps
constexpr int64_t kSteps = (kCheckpoints + 1) * kEvery;

class Stack : public lightning::LightningModule {
 public:
  Stack() {
    for (int64_t i = 0; i < kLayers; ++i) layers_->push_back(torch::nn::Linear(kWidth, kWidth));
    register_module("layers", layers_);
  }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    return (layers_->forward(batch["x"]) - batch["x"]).square().mean();
  }
  lightning::OptimizerList configure_optimizers() override {
    return std::make_shared<lightning::optim::AdamW>(parameters(),
                                                     torch::optim::AdamWOptions(1e-4));
  }

 private:
  torch::nn::Sequential layers_;
};

/// When each step began and ended. What it ends with, its checkpoint is yet to be written.
class StepClock : public lightning::Callback {
 public:
  void on_train_batch_start(lightning::TrainerContext&, lightning::LightningModule&,
                            const lightning::Batch&, int64_t) override {
    begins.push_back(Clock::now());
  }
  void on_train_batch_end(lightning::TrainerContext&, lightning::LightningModule&,
                          const lightning::StepOutput&, const lightning::Batch&, int64_t) override {
    ends.push_back(Clock::now());
  }
  std::vector<Clock::time_point> begins, ends;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double milliseconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

enum Mode { kNone, kInStep, kBehind, kNumModes };

struct Samples {
  std::vector<double> step, stall, delay;  // ms
};

/// Adds one run's figures.
void add_samples(const StepClock& clock, Samples& samples) {
  std::vector<double> steps, gaps;
  for (int64_t i = kWarmup; i + 1 < kEvery; ++i) {
    const auto step = static_cast<size_t>(i);
    steps.push_back(milliseconds(clock.begins[step], clock.begins[step + 1]));
    gaps.push_back(milliseconds(clock.ends[step], clock.begins[step + 1]));
  }
  const double step = median(steps);
  samples.step.push_back(step);
  for (int64_t k = 1; k <= kCheckpoints; ++k) {
    const auto saving = static_cast<size_t>(k * kEvery - 1);
    samples.stall.push_back(milliseconds(clock.ends[saving], clock.begins[saving + 1]) -
                            median(gaps));
    // The last step but one of the run is the last whose end is a beginning.
    const size_t next = std::min(saving + kEvery, static_cast<size_t>(kSteps - 1));
    samples.delay.push_back(milliseconds(clock.begins[saving], clock.begins[next]) -
                            step * static_cast<double>(next - saving));
  }
}

/// Whether this is rank 0.
bool run(Mode mode, const std::shared_ptr<lightning::DataLoader>& loader, Samples& samples) {
  const std::filesystem::path folder = "build/benchmarks/checkpoint_stall";
  lightning::TrainerOptions options;
  options.accelerator = "cpu";
  options.devices = 2;
  options.max_steps = kSteps;
  options.enable_progress_bar = false;
  options.enable_model_summary = false;
  options.enable_checkpointing = mode != kNone;
  options.async_checkpointing = mode == kBehind;
  options.default_root_dir = folder;
  const auto clock = std::make_shared<StepClock>();
  lightning::Callbacks callbacks;
  callbacks.push_back(clock);
  if (mode != kNone) {
    // Only those in the middle are counted, not the one at the end.
    callbacks.push_back(std::make_shared<lightning::ModelCheckpoint>(
        lightning::ModelCheckpointOptions{.every_n_train_steps = kEvery, .every_n_epochs = 0}));
  }
  lightning::seed_everything(1);
  lightning::Trainer trainer(options, callbacks, lightning::Loggers{});
  trainer.fit(std::make_shared<Stack>(), loader);
  add_samples(*clock, samples);
  if (trainer.is_global_zero()) std::filesystem::remove_all(folder);
  return trainer.is_global_zero();
}

std::string spread(const std::vector<double>& values) {
  char text[96];
  std::snprintf(text, sizeof text, "%.0f (%.0f to %.0f)", median(values),
                *std::min_element(values.begin(), values.end()),
                *std::max_element(values.begin(), values.end()));
  return text;
}

void print(const std::vector<Samples>& all) {
  static constexpr const char* kNames[] = {"none", "written in the step",
                                           "written behind its back"};
  std::printf("\n| checkpoints | step, ms | stall, ms | delay in all, ms |\n|---|---|---|---|\n");
  for (size_t mode = 0; mode < all.size(); ++mode) {
    std::printf("| %s | %s | %s | %s |\n", kNames[mode], spread(all[mode].step).c_str(),
                spread(all[mode].stall).c_str(), spread(all[mode].delay).c_str());
  }
}

void measure(int repeats) {
  const auto data = std::make_shared<lightning::TensorDataset>(
      lightning::Batch({{"x", torch::randn({512, kWidth})}}));
  const auto loader =
      std::make_shared<lightning::DataLoader>(data, lightning::DataLoaderOptions{.batch_size = 8});
  std::vector<Samples> all(kNumModes);
  bool is_rank_0 = true;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (int turn = 0; turn < kNumModes; ++turn) {
      const int mode = (repeat + turn) % kNumModes;
      is_rank_0 = run(static_cast<Mode>(mode), loader, all[static_cast<size_t>(mode)]);
    }
  }
  if (is_rank_0) print(all);
}

}  // namespace
}  // namespace benchmark_checkpoint_stall

int main(int argc, char** argv) {
  try {
    benchmark_checkpoint_stall::measure(argc > 1 ? std::atoi(argv[1]) : 5);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
