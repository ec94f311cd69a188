// What reaches the loggers in training, compared with what Lightning 2.6.6 sends
// (tests/golden/metrics/record_metrics.py).
#include <catch2/catch.hpp>

#include <lightning/core/metric_log.h>
#include <lightning/trainer/trainer.h>

#include "support/boring_module.h"
#include "support/metric_rows.h"
#include "support/temporary_folder.h"

namespace {

using lightning::ReduceFx;
using lightning_tests::MetricRows;

/// Logs in every way that training has, as TrainingModule of the recording script.
class Module : public BoringModule {
 public:
  void on_train_epoch_start() override {
    log("at_start", 10.0 + static_cast<double>(current_epoch()));
  }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
    const at::Tensor value = batch["x"].mean();
    log("step_only", value);
    log("both", value, {.on_epoch = true});
    log("epoch_only", value, {.on_step = false, .on_epoch = true});
    log("weighted", value,
        {.on_step = false, .on_epoch = true, .batch_size = static_cast<double>(index + 1)});
    log("sum", value, {.on_epoch = true, .reduce_fx = ReduceFx::kSum});
    log("min", value, {.on_epoch = true, .reduce_fx = ReduceFx::kMin});
    log("max", value, {.on_epoch = true, .reduce_fx = ReduceFx::kMax});
    log("unlogged", value, {.on_epoch = true, .logger = false});
    return BoringModule::training_step(batch, index);
  }
  void on_train_batch_end(const lightning::StepOutput&, const lightning::Batch& batch,
                          int64_t) override {
    log("largest", batch["x"].max());
  }
  void on_train_epoch_end() override { log("at_end", 20.0 + static_cast<double>(current_epoch())); }
};

}  // namespace

TEST_CASE("Values logged in training reach the loggers as in Lightning", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  options.default_root_dir = folder.path();
  std::string name;
  SECTION("at every step") {
    name = "every step";
    options.log_every_n_steps = 1;
  }
  SECTION("at every third step") {
    name = "every third step";
    options.log_every_n_steps = 3;
  }
  SECTION("with accumulation") {
    name = "two batches per step";
    options.log_every_n_steps = 1;
    options.accumulate_grad_batches = 2;
  }
  // Seven rows in batches of two: the last one weighs half.
  const at::Tensor column = torch::arange(1, 8, torch::kFloat).reshape({-1, 1});
  const auto data =
      std::make_shared<lightning::TensorDataset>(lightning::Batch({{"x", column.repeat({1, 2})}}));
  const auto rows = std::make_shared<MetricRows>();
  lightning::Trainer trainer(options, {}, lightning::Loggers{rows});
  trainer.fit(std::make_shared<Module>(), std::make_shared<lightning::DataLoader>(
                                              data, lightning::DataLoaderOptions{.batch_size = 2}));
  CHECK(rows->lines == lightning_tests::with_completed_steps(
                           lightning_tests::golden_rows("train_metrics.txt", name)));
}

TEST_CASE("A value on a device is logged without waiting for it (pain #21232)", "[trainer]") {
  // A tensor without a value: to read it is an error.
  const at::Tensor value = torch::ones({}, at::TensorOptions(at::Device(at::kMeta)));
  REQUIRE_THROWS(value.item<float>());
  lightning::MetricLog log;
  lightning::MetricLog::Scope scope;
  scope.hook = "training_step";
  scope.allowed = scope.on_step = true;
  scope.batch_size = 2.0;
  log.enter(scope);
  for (int step = 0; step < 3; ++step) {
    log.record("mean", value, {.on_epoch = true, .prog_bar = true});
    log.record("sum", value, {.on_epoch = true, .reduce_fx = ReduceFx::kSum});
    log.record("min", value, {.on_epoch = true, .reduce_fx = ReduceFx::kMin});
    log.record("max", value, {.on_epoch = true, .reduce_fx = ReduceFx::kMax});
  }
  const std::vector<lightning::LoggedRow> rows = {log.take_step_row(), log.progress_bar_row(),
                                                  log.callback_row(), log.epoch_row()};
  for (const lightning::LoggedRow& row : rows) {
    CHECK_FALSE(row.empty());
    for (const lightning::LoggedValue& logged : row) CHECK(logged.device.is_meta());
  }
}
