// What reaches the loggers in evaluations, compared with what Lightning 2.6.6 sends
// (tests/golden/metrics/record_metrics.py).
#include <span>

#include <catch2/catch.hpp>

#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/metric_rows.h"
#include "support/temporary_folder.h"

namespace {

using lightning::DataLoader;
using lightning::DataLoaders;
using lightning::Trainer;
using lightning::TrainerOptions;
using lightning_tests::Lines;
using lightning_tests::MetricRows;

class Module : public BoringModule {
 public:
  void validation_step(const lightning::Batch& batch, int64_t) override {
    log("both", batch["x"].mean(), {.on_step = true});
    log("epoch_only", batch["x"].mean());
    log("unlogged", batch["x"].mean(), {.on_step = true, .logger = false});
  }
  void on_validation_batch_end(const lightning::Batch& batch, int64_t) override {
    log("largest", batch["x"].max(), {.on_step = true, .on_epoch = false});
  }
  void test_step(const lightning::Batch& batch, int64_t index) override {
    validation_step(batch, index);
  }
};

/// Rows of two equal columns with the numbers from first to last, two rows in a batch.
std::shared_ptr<DataLoader> loader(int64_t first, int64_t last) {
  const at::Tensor column = torch::arange(first, last + 1, torch::kFloat).reshape({-1, 1});
  const auto data =
      std::make_shared<lightning::TensorDataset>(lightning::Batch({{"x", column.repeat({1, 2})}}));
  return std::make_shared<DataLoader>(data, lightning::DataLoaderOptions{.batch_size = 2});
}

DataLoaders two_loaders() {
  return DataLoaders(std::vector<std::shared_ptr<DataLoader>>{loader(1, 6), loader(11, 14)});
}

Lines golden(const std::string& name) {
  return lightning_tests::golden_rows("eval_metrics.txt", name);
}

/// In fit the rows of whole validations stand at the training's steps.
Lines with_completed_steps(Lines lines) {
  for (std::string& line : lines) {
    const bool whole = line.find("_epoch") != std::string::npos;
    if (whole) line = lightning_tests::with_completed_steps(line);
  }
  return lines;
}

struct Recording {
  explicit Recording(TrainerOptions options)
      : recorder(std::make_shared<MetricRows>()),
        trainer(inside(std::move(options), folder), {}, lightning::Loggers{recorder}) {}
  static TrainerOptions inside(TrainerOptions options, const lightning_tests::TemporaryFolder& at) {
    options.default_root_dir = at.path();
    return options;
  }
  lightning_tests::TemporaryFolder folder;
  std::shared_ptr<MetricRows> recorder;
  Trainer trainer;
};

/// Keeps the place of each row, and what its first value is called.
class Places : public lightning::Logger {
 public:
  std::string_view name() const override { return "Places"; }
  Lines lines;

 private:
  void do_setup(const lightning::LoggerSetup&) override {}
  void do_log_metrics(const lightning::MetricRow& row) override {
    lines.push_back("step " + std::to_string(row.step) + " epoch " + std::to_string(row.epoch) +
                    " " + row.values.front().first);
  }
  void do_flush() override {}
  void do_finalize(std::string_view) override {}
};

}  // namespace

TEST_CASE("on_step values of validations reach the loggers as in Lightning", "[trainer]") {
  TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  SECTION("after a sanity check, which leaves no rows") {
    options.num_sanity_val_steps = 1;
    Recording run(options);
    run.trainer.fit(std::make_shared<Module>(), loader(1, 6), loader(1, 6));
    CHECK(run.recorder->lines == with_completed_steps(golden("fit")));
  }
  SECTION("of two loaders, in validations inside epochs") {
    options.val_check_interval = 1;
    Recording run(options);
    run.trainer.fit(std::make_shared<Module>(), loader(1, 4), two_loaders());
    CHECK(run.recorder->lines == with_completed_steps(golden("fit, two loaders")));
  }
}

TEST_CASE("Training and validation share the axes of the loggers (pains #4113, #4203)",
          "[trainer]") {
  class LogsBoth : public BoringModule {
   public:
    lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
      log("train", batch["x"].mean());
      return BoringModule::training_step(batch, index);
    }
    void validation_step(const lightning::Batch& batch, int64_t) override {
      log("val", batch["x"].mean());
    }
  };
  TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  options.log_every_n_steps = 1;
  options.accumulate_grad_batches = 2;
  const lightning_tests::TemporaryFolder folder;
  options.default_root_dir = folder.path();
  const auto places = std::make_shared<Places>();
  Trainer trainer(options, {}, lightning::Loggers{places});
  trainer.fit(std::make_shared<LogsBoth>(), boring_loader(8), boring_loader());
  // Steps, not batches: an epoch has four of these.
  CHECK(places->lines == Lines{"step 1 epoch 0 train", "step 2 epoch 0 train", "step 2 epoch 0 val",
                               "step 3 epoch 1 train", "step 4 epoch 1 train",
                               "step 4 epoch 1 val"});
}

TEST_CASE("on_step values of validate and test reach the loggers as in Lightning", "[trainer]") {
  Recording run(quiet_options());
  SECTION("validate, twice: each begins at 0") {
    run.trainer.validate(std::make_shared<Module>(), two_loaders());
    CHECK(run.recorder->lines == golden("validate, two loaders"));
    run.recorder->lines.clear();
    run.trainer.validate(std::make_shared<Module>(), two_loaders());
    CHECK(run.recorder->lines == golden("validate, two loaders"));
  }
  SECTION("test") {
    run.trainer.test(std::make_shared<Module>(), loader(1, 6));
    CHECK(run.recorder->lines == golden("test"));
  }
}

TEST_CASE("on_step where there is no step is an error", "[trainer]") {
  class LogsStepInEpochHook : public BoringModule {
    void on_validation_epoch_end() override { log("x", 1.0, {.on_step = true}); }
  };
  Trainer trainer(quiet_options(), {}, lightning::Loggers{});
  CHECK_THROWS_WITH(trainer.validate(std::make_shared<LogsStepInEpochHook>(), boring_loader()),
                    Catch::Contains("\"x\" was logged with on_step") && Catch::Contains("HINT"));
}

TEST_CASE("A batch weighs by its samples, whatever the shape of its tensors (pain #10349)",
          "[trainer]") {
  /// Samples are columns: batches of the shape [3, samples].
  class Columns : public lightning::Dataset {
   public:
    int64_t size() const override { return 5; }
    lightning::Batch get_batch(std::span<const int64_t> indices,
                               std::span<lightning::SampleContext>) override {
      const at::Tensor numbers = at::arange(indices.front(), indices.back() + 1, at::kFloat);
      lightning::Batch batch({{"x", numbers.repeat({3, 1})}});
      batch.set_batch_size(static_cast<int64_t>(indices.size()));
      return batch;
    }
  };
  class LogsMean : public BoringModule {
   public:
    void validation_step(const lightning::Batch& batch, int64_t) override {
      CHECK(batch["x"].size(0) == 3);
      log("mean", batch["x"].mean());
    }
  };
  Trainer trainer(quiet_options(), {}, lightning::Loggers{});
  const auto found =
      trainer.validate(std::make_shared<LogsMean>(),
                       std::make_shared<DataLoader>(std::make_shared<Columns>(),
                                                    lightning::DataLoaderOptions{.batch_size = 2}));
  REQUIRE(found.size() == 1);
  // Of 0 to 4; the mean of the three batches' means is 7 / 3.
  CHECK(found[0].at("mean") == Approx(2.0));
}
