// The order of hooks is Lightning's: every list here was recorded from Lightning itself
// (tests/golden/hooks/record_hooks.py).
#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include <lightning/callbacks/callback.h>
#include <lightning/core/lightning_data_module.h>
#include <lightning/trainer/trainer.h>

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
        .lr_scheduler = {.scheduler = std::make_shared<lightning::optim::StepLR>(optimizer, 1),
                         .interval = lightning::Interval::kStep}};
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
  void lr_scheduler_step(lightning::optim::LRScheduler& scheduler) override {
    calls.push_back("LM.lr_scheduler_step");
    scheduler.step();
  }
};

class RecordingCallback : public lightning::Callback {
 public:
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

 private:
  static lightning::DataLoaders loader(const char* name) {
    calls.push_back(name);
    return boring_loader();
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

/// Runs one action and compares; names the first difference.
template <typename Action>
void check_order(const std::string& file, const lightning::TrainerOptions& options, Action action) {
  calls.clear();
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions in_folder = options;
  in_folder.default_root_dir = folder.path();
  lightning::Trainer trainer(in_folder, {std::make_shared<RecordingCallback>()},
                             lightning::Loggers{});
  action(trainer, std::make_shared<RecordingModule>(), std::make_shared<RecordingData>());
  const std::vector<std::string> expected = golden(file);
  for (size_t i = 0; i < std::min(calls.size(), expected.size()); ++i) {
    INFO("hook number " << i + 1);
    REQUIRE(calls[i] == expected[i]);
  }
  REQUIRE(calls.size() == expected.size());
}

}  // namespace

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
