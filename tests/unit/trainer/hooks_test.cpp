// The order of hooks is Lightning's: every list here was recorded from Lightning itself
// (tests/golden/hooks/record_hooks.py).
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include <lightning/callbacks/callback.h>
#include <lightning/callbacks/gradient_accumulation_scheduler.h>
#include <lightning/core/lightning_data_module.h>
#include <lightning/profilers/profiler.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/log.h>

#include "support/boring_module.h"
#include "support/temporary_folder.h"

namespace {

using lightning::Batch;
using lightning::LightningModule;
using lightning::Stage;
using lightning::StepOutput;
using lightning::TrainerContext;
using torch::optim::Optimizer;

std::vector<std::string> calls;

// One override: notes the call, then does what the base class does.
#define LM_HOOK(name)             \
  void name() override {          \
    calls.push_back("LM." #name); \
    BoringModule::name();         \
  }
#define LM_BATCH_HOOK(name)                               \
  void name(const Batch& batch, int64_t index) override { \
    calls.push_back("LM." #name);                         \
    BoringModule::name(batch, index);                     \
  }
#define LM_OPTIMIZER_HOOK(name)              \
  void name(Optimizer& optimizer) override { \
    calls.push_back("LM." #name);            \
    BoringModule::name(optimizer);           \
  }
#define CB_HOOK(name) \
  void name(TrainerContext&, LightningModule&) override { calls.push_back("CB." #name); }
#define CB_BATCH_HOOK(name)                                                      \
  void name(TrainerContext&, LightningModule&, const Batch&, int64_t) override { \
    calls.push_back("CB." #name);                                                \
  }

class RecordingModule : public BoringModule {
 public:
  LM_HOOK(prepare_data)
  LM_HOOK(configure_model)
  LM_HOOK(on_fit_start)
  LM_HOOK(on_fit_end)
  LM_HOOK(on_train_start)
  LM_HOOK(on_train_end)
  LM_HOOK(on_train_epoch_start)
  LM_HOOK(on_train_epoch_end)
  LM_HOOK(on_validation_model_zero_grad)
  LM_HOOK(on_validation_model_eval)
  LM_HOOK(on_validation_model_train)
  LM_HOOK(on_validation_start)
  LM_HOOK(on_validation_end)
  LM_HOOK(on_validation_epoch_start)
  LM_HOOK(on_validation_epoch_end)
  LM_HOOK(on_test_model_eval)
  LM_HOOK(on_test_start)
  LM_HOOK(on_test_end)
  LM_HOOK(on_test_epoch_start)
  LM_HOOK(on_test_epoch_end)
  LM_HOOK(on_predict_model_eval)
  LM_HOOK(on_predict_start)
  LM_HOOK(on_predict_end)
  LM_HOOK(on_predict_epoch_start)
  LM_HOOK(on_predict_epoch_end)
  LM_HOOK(on_after_backward)
  LM_BATCH_HOOK(on_train_batch_start)
  LM_BATCH_HOOK(on_validation_batch_start)
  LM_BATCH_HOOK(on_validation_batch_end)
  LM_BATCH_HOOK(on_test_batch_start)
  LM_BATCH_HOOK(on_test_batch_end)
  LM_BATCH_HOOK(on_predict_batch_start)
  LM_BATCH_HOOK(validation_step)
  LM_BATCH_HOOK(test_step)
  LM_OPTIMIZER_HOOK(on_before_zero_grad)
  LM_OPTIMIZER_HOOK(optimizer_zero_grad)
  LM_OPTIMIZER_HOOK(on_before_optimizer_step)
  void setup(Stage) override { calls.push_back("LM.setup"); }
  void teardown(Stage) override { calls.push_back("LM.teardown"); }
  std::vector<std::shared_ptr<lightning::Callback>> configure_callbacks() override {
    calls.push_back("LM.configure_callbacks");
    return {};
  }
  lightning::OptimizerList configure_optimizers() override {
    calls.push_back("LM.configure_optimizers");
    auto optimizer =
        std::make_shared<lightning::optim::SGD>(parameters(), torch::optim::SGDOptions(0.1));
    return lightning::OptimizerConfig{
        .optimizer = optimizer,
        .lr_scheduler = {{.scheduler = std::make_shared<lightning::optim::StepLR>(optimizer, 1),
                          .interval = lightning::Interval::kStep}}};
  }
  StepOutput training_step(const Batch& batch, int64_t index) override {
    calls.push_back("LM.training_step");
    return BoringModule::training_step(batch, index);
  }
  Batch predict_step(const Batch& batch, int64_t index) override {
    calls.push_back("LM.predict_step");
    return BoringModule::predict_step(batch, index);
  }
  Batch on_before_batch_transfer(Batch batch) override {
    calls.push_back("LM.on_before_batch_transfer");
    return batch;
  }
  Batch transfer_batch_to_device(Batch batch, at::Device) override {
    calls.push_back("LM.transfer_batch_to_device");
    return batch;
  }
  Batch on_after_batch_transfer(Batch batch) override {
    calls.push_back("LM.on_after_batch_transfer");
    return batch;
  }
  void on_train_batch_end(const StepOutput&, const Batch&, int64_t) override {
    calls.push_back("LM.on_train_batch_end");
  }
  void on_predict_batch_end(const Batch&, const Batch&, int64_t) override {
    calls.push_back("LM.on_predict_batch_end");
  }
  void on_before_backward(const at::Tensor&) override { calls.push_back("LM.on_before_backward"); }
  void backward(const at::Tensor& loss) override {
    calls.push_back("LM.backward");
    BoringModule::backward(loss);
  }
  void optimizer_step(int64_t, int64_t, Optimizer&, const std::function<void()>& step) override {
    calls.push_back("LM.optimizer_step");
    step();
  }
  void configure_gradient_clipping(Optimizer&, std::optional<double>,
                                   lightning::GradientClipAlgorithm) override {
    calls.push_back("LM.configure_gradient_clipping");
  }
  void lr_scheduler_step(lightning::optim::LRScheduler& scheduler,
                         std::optional<double> metric) override {
    calls.push_back("LM.lr_scheduler_step");
    BoringModule::lr_scheduler_step(scheduler, metric);
  }
};

/// Two optimizers, each with its own backward; the schedule is left alone.
class ManualRecordingModule : public RecordingModule {
 public:
  ManualRecordingModule() { set_automatic_optimization(false); }
  lightning::OptimizerList configure_optimizers() override {
    calls.push_back("LM.configure_optimizers");
    std::vector<lightning::OptimizerConfig> configs;
    for (const at::Tensor& parameter : parameters()) {
      auto optimizer = std::make_shared<lightning::optim::SGD>(std::vector<at::Tensor>{parameter},
                                                               torch::optim::SGDOptions(0.1));
      configs.push_back({.optimizer = optimizer});
    }
    configs[0].lr_scheduler = std::make_shared<lightning::optim::StepLR>(configs[0].optimizer, 1);
    return configs;
  }
  StepOutput training_step(const Batch& batch, int64_t) override {
    calls.push_back("LM.training_step");
    for (size_t i = 0; i < 2; ++i) {
      auto& one = optimizer(i);
      const auto toggle = one.toggle();
      one.zero_grad();
      manual_backward(layer->forward(batch["x"]).mean());
      one.clip_gradients(1.0);
      one.step();
    }
    return StepOutput::skip();
  }
};

class FailingRecordingModule : public RecordingModule {
 public:
  void on_before_optimizer_step(Optimizer& optimizer) override {
    RecordingModule::on_before_optimizer_step(optimizer);
    throw std::runtime_error("mine");
  }
};

/// Ends the first epoch before its second batch; its schedule counts epochs.
class SkippingRecordingModule : public RecordingModule {
 public:
  void on_train_batch_start(const Batch& batch, int64_t index) override {
    RecordingModule::on_train_batch_start(batch, index);
    if (current_epoch() == 0 && index == 1) trainer().skip_rest_of_epoch();
  }
  lightning::OptimizerList configure_optimizers() override {
    calls.push_back("LM.configure_optimizers");
    auto optimizer =
        std::make_shared<lightning::optim::SGD>(parameters(), torch::optim::SGDOptions(0.1));
    return lightning::OptimizerConfig{
        .optimizer = optimizer,
        .lr_scheduler = std::make_shared<lightning::optim::StepLR>(optimizer, 1)};
  }
};

/// Two schedules of one optimizer, one of which watches a metric.
class PlateauRecordingModule : public RecordingModule {
 public:
  PlateauRecordingModule(lightning::Interval interval, std::string monitor)
      : interval_(interval), monitor_(std::move(monitor)) {}
  lightning::OptimizerList configure_optimizers() override {
    calls.push_back("LM.configure_optimizers");
    auto optimizer =
        std::make_shared<lightning::optim::SGD>(parameters(), torch::optim::SGDOptions(0.1));
    return lightning::OptimizerConfig{
        .optimizer = optimizer,
        .lr_scheduler = {
            {.scheduler = std::make_shared<lightning::optim::StepLR>(optimizer, 1),
             .interval = interval_},
            {.scheduler = std::make_shared<lightning::optim::ReduceLROnPlateau>(optimizer),
             .interval = interval_,
             .monitor = monitor_}}};
  }
  StepOutput training_step(const Batch& batch, int64_t index) override {
    const StepOutput output = RecordingModule::training_step(batch, index);
    log("train_loss", output.loss);
    return output;
  }

 private:
  lightning::Interval interval_;
  std::string monitor_;
};

class RecordingCallback : public lightning::Callback {
 public:
  void on_exception(TrainerContext&, LightningModule&, const std::exception&) override {
    calls.push_back("CB.on_exception");
  }
  CB_HOOK(on_fit_start)
  CB_HOOK(on_fit_end)
  CB_HOOK(on_sanity_check_start)
  CB_HOOK(on_sanity_check_end)
  CB_HOOK(on_train_start)
  CB_HOOK(on_train_end)
  CB_HOOK(on_train_epoch_start)
  CB_HOOK(on_train_epoch_end)
  CB_HOOK(on_validation_start)
  CB_HOOK(on_validation_end)
  CB_HOOK(on_validation_epoch_start)
  CB_HOOK(on_validation_epoch_end)
  CB_HOOK(on_test_start)
  CB_HOOK(on_test_end)
  CB_HOOK(on_test_epoch_start)
  CB_HOOK(on_test_epoch_end)
  CB_HOOK(on_predict_start)
  CB_HOOK(on_predict_end)
  CB_HOOK(on_predict_epoch_start)
  CB_HOOK(on_predict_epoch_end)
  CB_HOOK(on_after_backward)
  CB_BATCH_HOOK(on_train_batch_start)
  CB_BATCH_HOOK(on_validation_batch_start)
  CB_BATCH_HOOK(on_validation_batch_end)
  CB_BATCH_HOOK(on_test_batch_start)
  CB_BATCH_HOOK(on_test_batch_end)
  CB_BATCH_HOOK(on_predict_batch_start)
  void setup(TrainerContext&, LightningModule&, Stage) override { calls.push_back("CB.setup"); }
  void teardown(TrainerContext&, LightningModule&, Stage) override {
    calls.push_back("CB.teardown");
  }
  void on_train_batch_end(TrainerContext&, LightningModule&, const StepOutput&, const Batch&,
                          int64_t) override {
    calls.push_back("CB.on_train_batch_end");
  }
  void on_predict_batch_end(TrainerContext&, LightningModule&, const Batch&, const Batch&,
                            int64_t) override {
    calls.push_back("CB.on_predict_batch_end");
  }
  void on_before_backward(TrainerContext&, LightningModule&, const at::Tensor&) override {
    calls.push_back("CB.on_before_backward");
  }
  void on_before_zero_grad(TrainerContext&, LightningModule&, Optimizer&) override {
    calls.push_back("CB.on_before_zero_grad");
  }
  void on_before_optimizer_step(TrainerContext&, LightningModule&, Optimizer&) override {
    calls.push_back("CB.on_before_optimizer_step");
  }
};

class RecordingData : public lightning::LightningDataModule {
 public:
  void prepare_data() override { calls.push_back("DM.prepare_data"); }
  void setup(Stage) override { calls.push_back("DM.setup"); }
  void teardown(Stage) override { calls.push_back("DM.teardown"); }
  lightning::DataLoaders train_dataloader() override { return loader("DM.train_dataloader"); }
  lightning::DataLoaders val_dataloader() override { return loader("DM.val_dataloader"); }
  lightning::DataLoaders test_dataloader() override { return loader("DM.test_dataloader"); }
  lightning::DataLoaders predict_dataloader() override { return loader("DM.predict_dataloader"); }
  void on_exception(const std::exception&) override { calls.push_back("DM.on_exception"); }

 private:
  static lightning::DataLoaders loader(const char* name) {
    calls.push_back(name);
    return boring_loader();
  }
};

class ThreeLoadersData : public RecordingData {
 public:
  lightning::DataLoaders val_dataloader() override {
    calls.push_back("DM.val_dataloader");
    return std::vector{boring_loader(), boring_loader(), boring_loader()};
  }
};

/// Overrides one of the hooks that the module has too.
class TransferringSome : public RecordingData {
 public:
  Batch on_before_batch_transfer(Batch batch) override {
    calls.push_back("DM.on_before_batch_transfer");
    return batch;
  }
};

/// Overrides all of them.
class Transferring : public TransferringSome {
 public:
  Batch transfer_batch_to_device(Batch batch, at::Device device) override {
    calls.push_back("DM.transfer_batch_to_device");
    return batch.to(device);
  }
  Batch on_after_batch_transfer(Batch batch) override {
    calls.push_back("DM.on_after_batch_transfer");
    return batch;
  }
};

std::vector<std::string> golden(const std::string& file) {
  std::ifstream stream("tests/golden/hooks/" + file);
  REQUIRE(stream);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

lightning::TrainerOptions recording_options() {
  lightning::TrainerOptions options = quiet_options();
  options.limit_val_batches = 2;
  options.limit_test_batches = 2;
  options.limit_predict_batches = 2;
  return options;
}

struct Parts {
  std::shared_ptr<LightningModule> module = std::make_shared<RecordingModule>();
  std::shared_ptr<RecordingData> data = std::make_shared<RecordingData>();
  lightning::Callbacks callbacks = {};
};

/// Runs one action and compares; names the first difference.
template <typename Action>
void check_order(const std::string& file, const lightning::TrainerOptions& options, Action action,
                 Parts parts = {}) {
  calls.clear();
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions in_folder = options;
  in_folder.default_root_dir = folder.path();
  lightning::Callbacks callbacks = {std::make_shared<RecordingCallback>()};
  callbacks.insert(callbacks.end(), parts.callbacks.begin(), parts.callbacks.end());
  lightning::Trainer trainer(in_folder, std::move(callbacks), lightning::Loggers{});
  action(trainer, parts.module, parts.data);
  const std::vector<std::string> expected = golden(file);
  for (size_t i = 0; i < std::min(calls.size(), expected.size()); ++i) {
    INFO("hook number " << i + 1);
    REQUIRE(calls[i] == expected[i]);
  }
  REQUIRE(calls.size() == expected.size());
}

/// Notes the names of actions as they begin, indented by the actions that they begin in.
class RecordingProfiler : public lightning::Profiler {
 public:
  std::vector<std::string> lines;
  std::vector<int32_t> running;
  int64_t wrong_stops = 0;
  std::vector<std::filesystem::path> run_dirs;

 private:
  std::string_view do_name() const override { return "recording"; }
  void do_setup(Stage stage, const std::filesystem::path& run_dir, int64_t global_rank) override {
    CHECK(stage == Stage::kFit);
    CHECK(global_rank == 0);
    run_dirs.push_back(run_dir);
  }
  void do_start(int32_t action) override {
    lines.push_back(std::string(2 * running.size(), ' ') + action_name(action));
    running.push_back(action);
  }
  void do_stop(int32_t action) noexcept override {
    if (running.empty() || running.back() != action) {
      ++wrong_stops;
    } else {
      running.pop_back();
    }
  }
  std::string do_summary() const override { return "all that was recorded"; }
};

class Watcher : public lightning::Callback {};

/// One batch of training, one of validation.
lightning::TrainerOptions options_for_profiling(const std::filesystem::path& folder) {
  lightning::TrainerOptions options = quiet_options();
  options.default_root_dir = folder;
  options.max_epochs = 1;
  options.limit_train_batches = 1;
  options.limit_val_batches = 1;
  options.num_sanity_val_steps = 0;
  options.log_every_n_steps = 1;
  return options;
}

}  // namespace

TEST_CASE("a profiler gets phases and hooks as nested actions, and prints its summary",
          "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  const auto profiler = std::make_shared<RecordingProfiler>();
  std::string printed;
  auto sink = lightning::set_log_sink([&](std::string_view line) { printed += line; });
  lightning::Trainer(options_for_profiling(folder.path()),
                     {.callbacks = {std::make_shared<Watcher>()},
                      .loggers = lightning::Loggers{},
                      .profiler = profiler})
      .fit(std::make_shared<BoringModule>(), boring_loader(), boring_loader());
  lightning::set_log_sink(std::move(sink));
  const std::vector<std::string> expected = golden("fit_actions.txt");
  for (size_t i = 0; i < std::min(profiler->lines.size(), expected.size()); ++i) {
    INFO("action number " << i + 1);
    REQUIRE(profiler->lines[i] == expected[i]);
  }
  CHECK(profiler->lines.size() == expected.size());
  CHECK(profiler->running.empty());
  CHECK(profiler->wrong_stops == 0);
  REQUIRE(profiler->run_dirs.size() == 1);
  CHECK(std::filesystem::is_directory(profiler->run_dirs.front()));
  CHECK_THAT(printed, Catch::Contains("all that was recorded"));

  // A name has one number.
  CHECK(profiler->action("backward") == profiler->action("backward"));
  CHECK(profiler->action_name(profiler->action("my own part")) == "my own part");
  const size_t recorded = profiler->lines.size();
  lightning::Trainer(options_for_profiling(folder.path()), {}, lightning::Loggers{})
      .fit(std::make_shared<BoringModule>(), boring_loader(), boring_loader());
  CHECK(profiler->lines.size() == recorded);
}

TEST_CASE("a hook that throws ends the profiler's actions", "[trainer]") {
  class Throwing : public BoringModule {
    void on_before_backward(const at::Tensor&) override { throw std::runtime_error("mine"); }
  };
  const lightning_tests::TemporaryFolder folder;
  const auto profiler = std::make_shared<RecordingProfiler>();
  lightning::Trainer trainer(options_for_profiling(folder.path()),
                             {.callbacks = {std::make_shared<Watcher>()},
                              .loggers = lightning::Loggers{},
                              .profiler = profiler});
  CHECK_THROWS_WITH(trainer.fit(std::make_shared<Throwing>(), boring_loader()), "mine");
  CHECK(profiler->running.empty());
  CHECK(profiler->wrong_stops == 0);
  // The rest of the run is profiled, outside of what was broken off.
  const std::vector<std::string>& lines = profiler->lines;
  const auto exception = std::find(lines.begin(), lines.end(), "[Callback]Watcher.on_exception");
  REQUIRE(exception != lines.end());
  CHECK(*(exception - 1) == "    [LightningModule]Throwing.on_before_backward");
  CHECK(std::find(exception, lines.end(), "teardown") != lines.end());
}

TEST_CASE("fit calls hooks in Lightning's order", "[trainer]") {
  lightning::TrainerOptions options = recording_options();
  options.max_epochs = 2;
  options.num_sanity_val_steps = 1;
  check_order("fit.txt", options,
              [](auto& trainer, auto module, auto data) { trainer.fit(module, data); });
}

TEST_CASE("fit with accumulation calls hooks in Lightning's order", "[trainer]") {
  lightning::TrainerOptions options = recording_options();
  options.max_epochs = 1;
  options.num_sanity_val_steps = 0;
  options.accumulate_grad_batches = 2;
  options.val_check_interval = 2;
  check_order("fit_accumulate.txt", options,
              [](auto& trainer, auto module, auto data) { trainer.fit(module, data); });
}

TEST_CASE("fit with changing accumulation calls hooks in Lightning's order", "[trainer]") {
  lightning::TrainerOptions options = recording_options();
  options.max_epochs = 3;
  options.num_sanity_val_steps = 0;
  check_order(
      "fit_accumulation_schedule.txt", options,
      [](auto& trainer, auto module, auto data) { trainer.fit(module, data); },
      {.callbacks = {std::make_shared<lightning::GradientAccumulationScheduler>(
           lightning::GradientAccumulationSchedulerOptions{.scheduling = {{1, 2}, {2, 3}}})}});
}

TEST_CASE("fit with manual optimization calls hooks in Lightning's order", "[trainer]") {
  lightning::TrainerOptions options = recording_options();
  options.max_epochs = 1;
  options.num_sanity_val_steps = 0;
  check_order("fit_manual.txt", options,
              [](auto& trainer, auto module, auto data) { trainer.fit(module, data); },
              {.module = std::make_shared<ManualRecordingModule>()});
}

TEST_CASE("fit with several validation loaders calls hooks in Lightning's order", "[trainer]") {
  lightning::TrainerOptions options = recording_options();
  options.max_epochs = 1;
  options.limit_train_batches = 1;
  check_order("fit_val_loaders.txt", options,
              [](auto& trainer, auto module, auto data) { trainer.fit(module, data); },
              {.data = std::make_shared<ThreeLoadersData>()});
}

TEST_CASE("A hook that throws is followed by on_exception in Lightning's order, then by teardown",
          "[trainer]") {
  lightning::TrainerOptions options = recording_options();
  options.max_epochs = 1;
  const auto fit = [](auto& trainer, auto module, auto data) {
    CHECK_THROWS_WITH(trainer.fit(module, data), "mine");
    // Lightning leaves these out (docs/hooks.md).
    const std::vector<std::string> teardown = {"DM.teardown", "CB.teardown", "LM.teardown"};
    REQUIRE(calls.size() > teardown.size());
    CHECK(std::equal(teardown.begin(), teardown.end(), calls.end() - 3));
    calls.resize(calls.size() - teardown.size());
  };
  check_order("fit_exception.txt", options, fit,
              {.module = std::make_shared<FailingRecordingModule>()});
}

TEST_CASE("skip_rest_of_epoch() calls hooks in Lightning's order", "[trainer]") {
  lightning::TrainerOptions options = recording_options();
  options.max_epochs = 2;
  options.num_sanity_val_steps = 0;
  check_order("fit_skip_epoch.txt", options,
              [](auto& trainer, auto module, auto data) { trainer.fit(module, data); },
              {.module = std::make_shared<SkippingRecordingModule>()});
}

TEST_CASE("fit steps schedules that watch a metric where Lightning does", "[trainer]") {
  lightning::TrainerOptions options = recording_options();
  options.num_sanity_val_steps = 0;
  const auto fit = [](auto& trainer, auto module, auto data) { trainer.fit(module, data); };
  SECTION("after each epoch") {
    options.max_epochs = 2;
    check_order("fit_plateau_epoch.txt", options, fit,
                {.module = std::make_shared<PlateauRecordingModule>(lightning::Interval::kEpoch,
                                                                    "val_loss")});
  }
  SECTION("after each step, between windows") {
    options.max_epochs = 1;
    options.accumulate_grad_batches = 2;
    options.val_check_interval = 2;
    check_order("fit_plateau_step.txt", options, fit,
                {.module = std::make_shared<PlateauRecordingModule>(lightning::Interval::kStep,
                                                                    "train_loss")});
  }
}

TEST_CASE("Loaders are asked for again in Lightning's order", "[trainer]") {
  lightning::TrainerOptions options = recording_options();
  options.max_epochs = 4;
  options.num_sanity_val_steps = 1;
  options.reload_dataloaders_every_n_epochs = 2;
  check_order("fit_reload.txt", options,
              [](auto& trainer, auto module, auto data) { trainer.fit(module, data); });
}

TEST_CASE("Transfer hooks are the data module's where it overrides them", "[trainer]") {
  lightning::TrainerOptions options = recording_options();
  options.max_epochs = 1;
  options.num_sanity_val_steps = 0;
  const auto fit = [](auto& trainer, auto module, auto data) { trainer.fit(module, data); };
  check_order("fit_transfer.txt", options, fit, {.data = std::make_shared<Transferring>()});
  check_order("fit_transfer_some.txt", options, fit,
              {.data = std::make_shared<TransferringSome>()});
}

TEST_CASE("validate calls hooks in Lightning's order", "[trainer]") {
  check_order("validate.txt", recording_options(),
              [](auto& trainer, auto module, auto data) { trainer.validate(module, data); });
}

TEST_CASE("test calls hooks in Lightning's order", "[trainer]") {
  check_order("test.txt", recording_options(),
              [](auto& trainer, auto module, auto data) { trainer.test(module, data); });
}

TEST_CASE("predict calls hooks in Lightning's order", "[trainer]") {
  check_order("predict.txt", recording_options(), [](auto& trainer, auto module, auto data) {
    trainer.predict(module, data, nullptr);
  });
}
