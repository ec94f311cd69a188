// Where a jump of the loss is seen, compared with Lightning 2.6.6
// (tests/golden/callbacks/record_callbacks.py).
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include <catch2/catch.hpp>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/callbacks/registry.h>
#include <lightning/callbacks/spike_detection.h>
#include <lightning/config/yaml.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

#include "callbacks_support.h"
#include "support/temporary_folder.h"

namespace {

using lightning::SpikeDetection;
using lightning::SpikeDetectionOptions;
using lightning::TrainingSpikeError;

/// Its losses have the given values, one for each batch.
class ScriptedLoss : public BoringModule {
 public:
  explicit ScriptedLoss(std::vector<double> losses) : losses_(std::move(losses)) {}
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    const at::Tensor zero = layer->forward(batch["x"]).sum() * 0.0;
    const auto step = static_cast<size_t>(global_step());
    return zero + losses_.at(step);
  }

 private:
  std::vector<double> losses_;
};

lightning::TrainerOptions ignoring_nonfinite(const std::filesystem::path& folder) {
  lightning::TrainerOptions options = quiet_options();
  options.default_root_dir = folder;
  options.max_epochs = 1;
  options.on_nonfinite = lightning::OnNonfinite::kIgnore;
  return options;
}

/// The batch of the spike, or -1.
int64_t find_spike(const SpikeDetectionOptions& options, const std::vector<double>& losses,
                   const std::filesystem::path& folder) {
  lightning::Trainer trainer(ignoring_nonfinite(folder),
                             {std::make_shared<SpikeDetection>(options)}, lightning::Loggers{});
  try {
    trainer.fit(std::make_shared<ScriptedLoss>(losses),
                boring_loader(2 * static_cast<int64_t>(losses.size())));
  } catch (const TrainingSpikeError& error) {
    return error.batch_idx();
  }
  return -1;
}

}  // namespace

TEST_CASE("SpikeDetection sees spikes where Lightning does", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  std::ifstream file("tests/golden/callbacks/spike_detection.txt");
  REQUIRE(file);
  int64_t cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    INFO(line);
    std::istringstream words(line);
    std::string mode, atol, rtol;
    SpikeDetectionOptions options;
    words >> mode >> options.window >> options.warmup >> atol >> rtol >> options.finite_only;
    options.mode = mode == "max" ? lightning::MonitorMode::kMax : lightning::MonitorMode::kMin;
    options.atol = atol == "-" ? std::nullopt : std::optional(std::stod(atol));
    options.rtol = rtol == "-" ? std::nullopt : std::optional(std::stod(rtol));
    options.exclude_batches_path = folder.path() / "skip.json";
    const std::vector<double> losses = lightning_tests::numbers_between_bars(words);
    int64_t expected = 0;
    words >> expected;
    CHECK(find_spike(options, losses, folder.path()) == expected);
    // Read several at once, the same is found.
    options.every_n_batches = 3;
    CHECK(find_spike(options, losses, folder.path()) == expected);
  }
  CHECK(cases == 10);
}

TEST_CASE("SpikeDetection notes the batches to leave out", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  const auto detection = std::make_shared<SpikeDetection>();
  lightning::Trainer trainer(ignoring_nonfinite(folder.path()), {detection}, lightning::Loggers{});
  CHECK_THROWS_WITH(
      trainer.fit(std::make_shared<ScriptedLoss>(std::vector{2.0, 1.0, 9.0}), boring_loader()),
      Catch::Contains("the loss of batch 2 in epoch 0 is 9 after 1"));
  CHECK(detection->bad_batches() == std::vector<int64_t>{1, 2});
  CHECK(lightning::read_file(trainer.run_dir() / "skip_batches.json") == "[\n    1,\n    2\n]\n");
}

TEST_CASE("SpikeDetection writes nothing in a fast_dev_run", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  const auto detection = std::make_shared<SpikeDetection>();
  const auto module = std::make_shared<ScriptedLoss>(std::vector{2.0, 1.0, 9.0});
  lightning::TrainerOptions options = ignoring_nonfinite(folder.path());
  options.fast_dev_run = 3;
  lightning::Trainer trial(options, {detection}, lightning::Loggers{});
  CHECK_THROWS_WITH(trial.fit(module, boring_loader()),
                    Catch::Contains("HINT: look at it and the batch before it, and resume"));
  CHECK(std::filesystem::is_empty(folder.path()));
  // The next fit is a real one.
  lightning::Trainer trainer(ignoring_nonfinite(folder.path()), {detection}, lightning::Loggers{});
  CHECK_THROWS_WITH(trainer.fit(module, boring_loader()), Catch::Contains("skip_batches.json"));
  CHECK(std::filesystem::exists(trainer.run_dir() / "skip_batches.json"));
}

TEST_CASE("SpikeDetection remembers its losses when a run is resumed", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = ignoring_nonfinite(folder.path());
  options.enable_checkpointing = true;
  const std::vector<double> losses = {5.0, 4.0, 3.0, 20.0, 1.0, 1.0};
  const auto every = GENERATE(1, 2);
  const auto fit = [&](int64_t max_steps, const std::string& ckpt_path) {
    options.max_steps = max_steps;
    lightning::Trainer trainer(
        options,
        {std::make_shared<SpikeDetection>(SpikeDetectionOptions{.every_n_batches = every}),
         std::make_shared<lightning::ModelCheckpoint>(
             lightning::ModelCheckpointOptions{.every_n_train_steps = 1})},
        lightning::Loggers{});
    trainer.fit(std::make_shared<ScriptedLoss>(losses), boring_loader(12), {},
                {.ckpt_path = ckpt_path});
  };
  fit(3, "");
  CHECK_THROWS_AS(fit(-1, "last"), TrainingSpikeError);
}

TEST_CASE("SpikeDetection refuses a path that it can't write before it trains", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "file";
  std::ofstream(file) << "text";
  const auto fit = [&](const std::filesystem::path& path) {
    lightning::Trainer trainer(
        ignoring_nonfinite(folder.path()),
        {std::make_shared<SpikeDetection>(SpikeDetectionOptions{.exclude_batches_path = path})},
        lightning::Loggers{});
    trainer.fit(std::make_shared<ScriptedLoss>(std::vector<double>{1.0, 1.0}), boring_loader(2));
  };
  CHECK_THROWS_WITH(fit(folder.path()),
                    Catch::Contains("exclude_batches_path") && Catch::Contains("is a folder"));
  CHECK_THROWS_WITH(fit(file / "in" / "batches.json"),
                    Catch::Contains("exclude_batches_path") && Catch::Contains("is no folder"));
}

TEST_CASE("SpikeDetection refuses what makes no sense", "[callbacks]") {
  CHECK_THROWS_WITH(SpikeDetection({.window = 0}), Catch::Contains("window is 0"));
  CHECK_THROWS_WITH(SpikeDetection({.warmup = -1}), Catch::Contains("warmup is -1"));
  CHECK_THROWS_WITH(SpikeDetection({.rtol = -1.0}), Catch::Contains("rtol is -1"));
  CHECK_THROWS_WITH(SpikeDetection({.every_n_batches = 0}), Catch::Contains("every_n_batches"));
  SpikeDetection detection;
  lightning::StateDict state = detection.state_dict();
  CHECK_NOTHROW(detection.load_state_dict(state));
  state.set("window", std::vector<double>{std::numeric_limits<double>::infinity()});
  CHECK_THROWS_AS(detection.load_state_dict(state), lightning::CheckpointError);
}

TEST_CASE("SpikeDetection is made from YAML", "[callbacks]") {
  CHECK(std::dynamic_pointer_cast<SpikeDetection>(
            lightning::callback_registry().create(lightning::config::parse_yaml(
                "{class_path: SpikeDetection, init_args: {atol: 0.5, rtol: null}}", "config"))) !=
        nullptr);
}
