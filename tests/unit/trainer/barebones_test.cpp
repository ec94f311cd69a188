// barebones: what costs time beside the training is off.
#include <catch2/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <lightning/callbacks/early_stopping.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/callbacks/model_summary.h>
#include <lightning/callbacks/progress_bar.h>
#include <lightning/loggers/csv_logger.h>
#include <lightning/metrics/metric.h>
#include <lightning/optim/reduce_lr_on_plateau.h>
#include <lightning/profilers/profiler.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

using lightning::ConfigError;
using lightning::Trainer;
using lightning::TrainerOptions;

class Logging : public BoringModule {
 public:
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
    log("train_loss", 1.0);
    log("train_mean", batch["x"].mean());
    return BoringModule::training_step(batch, index);
  }
  void validation_step(const lightning::Batch& batch, int64_t index) override {
    ++validations;
    BoringModule::validation_step(batch, index);
  }
  int64_t validations = 0;
};

/// The sum of all values, which knows how often it was asked for.
class Sums : public lightning::metrics::Metric {
 public:
  Sums() : Metric("Sums") {
    add_state("sum", lightning::metrics::StateReduceFx::kSum, {}, at::kDouble);
  }
  void update(const at::Tensor& values) {
    const UpdateScope scope(*this, values);
    state("sum") += values.sum();
  }
  mutable int64_t computed = 0;

 private:
  at::Tensor do_compute() const override {
    ++computed;
    return state("sum");
  }
};

class Idle : public lightning::Profiler {
  std::string_view do_name() const override { return "idle"; }
  void do_setup(lightning::Stage, const std::filesystem::path&, int64_t) override {}
  void do_start(int32_t) override {}
  void do_stop(int32_t) noexcept override {}
  std::string do_summary() const override { return {}; }
};

TrainerOptions barebones_in(const lightning_tests::TemporaryFolder& folder) {
  TrainerOptions options;
  options.accelerator = "cpu";
  options.default_root_dir = folder.path();
  options.max_epochs = 2;
  options.barebones = true;
  return options;
}

bool has_file(const std::filesystem::path& folder, const std::string& part) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().filename().string().find(part) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("barebones trains without checkpoints, loggers, bar, summary and sanity check",
          "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  const auto module = std::make_shared<Logging>();
  std::string text;
  {
    const lightning_tests::CapturedStderr output;
    Trainer trainer(barebones_in(folder));
    CHECK(trainer.options().user.barebones);
    trainer.fit(module, boring_loader(), boring_loader(2));
    CHECK(trainer.global_step() == 6);
    CHECK(trainer.callbacks().empty());
    CHECK(trainer.loggers().empty());
    CHECK(trainer.callback_metrics().empty());
    text = output.text();
  }
  CHECK(module->validations == 2);  // none of a sanity check
  CHECK_FALSE(has_file(folder.path(), ".ckpt"));
  CHECK_FALSE(has_file(folder.path(), "metrics.csv"));
  CHECK_FALSE(has_file(folder.path(), "tfevents"));
  CHECK_THAT(text, Catch::Contains("barebones is true. Off are: checkpoints, loggers, log()"));
  // Once for the training and once for the validation at most.
  const std::string warning = "log() does nothing";
  CHECK_THAT(text, Catch::Contains(warning));
  // The weights are those of a plain fit.
  torch::manual_seed(5);
  const auto bare = std::make_shared<BoringModule>();
  torch::manual_seed(5);
  const auto plain = std::make_shared<BoringModule>();
  TrainerOptions options = barebones_in(folder);
  const lightning_tests::CapturedStderr output;
  Trainer(options).fit(bare, boring_loader());
  options.barebones = false;
  Trainer(options).fit(plain, boring_loader());
  CHECK(at::equal(bare->layer->weight, plain->layer->weight));
}

TEST_CASE("barebones computes no registered metric, and resets it after each epoch", "[trainer]") {
  class Summing : public BoringModule {
   public:
    lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
      sums->update(batch["x"]);
      log("sums", sums, {.on_step = true, .on_epoch = true});
      return BoringModule::training_step(batch, index);
    }
    void on_train_epoch_start() override { starts.push_back(total()); }
    void on_train_epoch_end() override { ends.push_back(total()); }
    double total() const { return sums->states()[0].value.item<double>(); }
    std::shared_ptr<Sums> sums = register_metric("sums", std::make_shared<Sums>());
    std::vector<double> starts;
    std::vector<double> ends;
  };
  const lightning_tests::TemporaryFolder folder;
  const auto module = std::make_shared<Summing>();
  const lightning_tests::CapturedStderr output;
  Trainer trainer(barebones_in(folder));
  trainer.fit(module, boring_loader());
  CHECK(module->sums->computed == 0);
  CHECK(trainer.callback_metrics().empty());
  CHECK(module->starts == std::vector<double>{0.0, 0.0});
  // Until the epoch's end the module may ask for it.
  REQUIRE(module->ends.size() == 2);
  CHECK(module->ends[0] != 0.0);
  CHECK(module->ends[0] == module->ends[1]);
}

TEST_CASE("barebones refuses LR schedules that watch a metric", "[trainer]") {
  class Watching : public BoringModule {
   public:
    lightning::OptimizerList configure_optimizers() override {
      const auto optimizer =
          std::make_shared<lightning::optim::SGD>(parameters(), torch::optim::SGDOptions(0.1));
      return lightning::OptimizerConfig{
          .optimizer = optimizer,
          .lr_scheduler = {{.scheduler = std::make_shared<lightning::optim::ReduceLROnPlateau>(
                                optimizer, lightning::optim::ReduceLROnPlateauOptions{}),
                            .monitor = "val_loss"}}};
    }
    lightning::StepOutput training_step(const lightning::Batch&, int64_t) override {
      throw std::runtime_error("trained");
    }
  };
  const lightning_tests::TemporaryFolder folder;
  const lightning_tests::CapturedStderr output;
  Trainer trainer(barebones_in(folder));
  CHECK_THROWS_WITH(
      trainer.fit(std::make_shared<Watching>(), boring_loader(), boring_loader(2)),
      Catch::Contains("ReduceLROnPlateau watches \"val_loss\"") && Catch::Contains("HINT"));
}

TEST_CASE("barebones refuses parts that cost time", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  const TrainerOptions options = barebones_in(folder);
  const auto refusal = [&](lightning::TrainerParts parts) {
    try {
      Trainer trainer(options, std::move(parts));
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const auto by_callback = [&](std::shared_ptr<lightning::Callback> callback) {
    return refusal({.callbacks = {std::move(callback)}});
  };
  CHECK_THAT(by_callback(
                 std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{})),
             Catch::Contains("(enable_checkpointing)") && Catch::Contains("HINT"));
  CHECK_THAT(by_callback(std::make_shared<lightning::ProgressBar>()),
             Catch::Contains("(enable_progress_bar)"));
  CHECK_THAT(by_callback(std::make_shared<lightning::ModelSummary>()),
             Catch::Contains("(enable_model_summary)"));
  CHECK_THAT(by_callback(std::make_shared<lightning::EarlyStopping>(
                 lightning::EarlyStoppingOptions{.monitor = "val_loss"})),
             Catch::Contains("EarlyStopping: monitor is \"val_loss\""));
  CHECK_THAT(refusal({.loggers = lightning::Loggers{std::make_shared<lightning::CSVLogger>(
                          lightning::CSVLoggerOptions{})}}),
             Catch::Contains("1 loggers are given (logger)"));
  CHECK_THAT(refusal({.profiler = std::make_shared<Idle>()}), Catch::Contains("a profiler"));
  CHECK(refusal({.loggers = lightning::Loggers{}}).empty());

  // The module's own callbacks are known when the run begins.
  class Bringing : public BoringModule {
   public:
    std::vector<std::shared_ptr<lightning::Callback>> configure_callbacks() override {
      return {std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{})};
    }
  };
  const lightning_tests::CapturedStderr output;
  Trainer trainer(options);
  CHECK_THROWS_WITH(trainer.fit(std::make_shared<Bringing>(), boring_loader()),
                    Catch::Contains("(enable_checkpointing)"));
}
