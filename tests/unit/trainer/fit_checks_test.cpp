// What a fit checks before it begins.
#include <functional>

#include <catch2/catch.hpp>

#include <lightning/callbacks/early_stopping.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/trainer/trainer.h>

#include "captured_fit.h"
#include "support/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
namespace optim = lightning::optim;
using lightning::Callbacks;
using lightning::DataLoaders;
using lightning::StepOutput;
using lightning::TrainerOptions;
using lightning_tests::Counting;
using lightning_tests::fit;
using lightning_tests::options_in;
using lightning_tests::Result;

std::shared_ptr<lightning::Callback> stops_by(const std::string& monitor) {
  return std::make_shared<lightning::EarlyStopping>(
      lightning::EarlyStoppingOptions{.monitor = monitor});
}
std::shared_ptr<lightning::Callback> saves(const lightning::ModelCheckpointOptions& options) {
  return std::make_shared<lightning::ModelCheckpoint>(options);
}

std::vector<fs::path> checkpoints_in(const fs::path& root) {
  return lightning::list_checkpoints(root / "lightning_logs" / "version_0" / "checkpoints");
}

}  // namespace

TEST_CASE("A validation metric that is misspelt is refused before the first step", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = options_in(folder);
  options.enable_checkpointing = true;
  struct Case {
    std::shared_ptr<lightning::Callback> callback;
    const char* option;
    const char* name;
  };
  for (const Case& c :
       {Case{stops_by("val_los"), "EarlyStopping: monitor", "val_los"},
        Case{stops_by("Val_loss"), "EarlyStopping: monitor", "Val_loss"},
        Case{saves({.monitor = "valid_loss"}), "ModelCheckpoint: monitor", "valid_loss"},
        Case{saves({.filename = "{epoch}-{val_lss:.2f}"}), "ModelCheckpoint: a metric of filename",
             "val_lss"}}) {
    CAPTURE(c.name);
    const Result result = fit(options, {c.callback});
    CHECK(result.module->batches == 0);
    CHECK_THAT(result.error, Catch::Contains(std::string(c.option) + " is \"" + c.name + "\"") &&
                                 Catch::Contains("HINT: write \"val_loss\""));
  }
}

TEST_CASE("Metrics that the sanity check can't know are no error before training", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = options_in(folder);
  options.enable_checkpointing = true;
  for (const char* name : {"val_loss", "val_f1", "train_loss", "train_f1"}) {
    CAPTURE(name);
    const Result result =
        fit(options, {stops_by(name),
                      saves({.filename = std::string("{epoch}-{") + name + "}", .monitor = name})});
    CHECK(result.error.empty());
    CHECK_THAT(result.output, !Catch::Contains("warning: "));
  }
}

TEST_CASE("A metric that is missing at an epoch's end ends the fit, with the epoch saved",
          "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = options_in(folder);
  options.enable_checkpointing = true;
  options.max_epochs = 3;
  SECTION("of the training") {
    const Result result = fit(options, {saves({.monitor = "train_los"})});
    CHECK(result.module->batches == 4);
    CHECK_THAT(result.error, Catch::Contains("monitor is \"train_los\"") &&
                                 Catch::Contains("did you mean \"train_loss\"?"));
  }
  SECTION("without sanity check") {
    options.num_sanity_val_steps = 0;
    const Result result = fit(options, {saves({.monitor = "accuracy"})});
    CHECK(result.module->batches == 4);
    CHECK_THAT(result.output,
               Catch::Contains("warning: Trainer: num_sanity_val_steps is 0, so whether "
                               "\"accuracy\" (ModelCheckpoint: monitor) is logged is known only"));
  }
  SECTION("without validation") {
    options.limit_val_batches = 0;
    const Result result = fit(options, {saves({.monitor = "val_loss"})});
    CHECK_THAT(result.error, Catch::Contains("no such metric was logged in epoch 0 "
                                             "(limit_val_batches is 0)"));
  }
  SECTION("in a validation inside the epoch") {
    options.num_sanity_val_steps = 0;
    options.val_check_interval = 2;
    const Result result = fit(options, {saves({.monitor = "val_los"})});
    CHECK(result.module->batches == 2);
  }
  const std::vector<fs::path> saved = checkpoints_in(folder.path());
  REQUIRE(saved.size() == 1);
  // The run resumes from there.
  TrainerOptions again = options;
  again.limit_val_batches = 1.0;
  const Result rest =
      fit(again, {saves({.monitor = "val_loss"})}, std::make_shared<Counting>(), boring_loader(4),
          boring_loader(8), lightning::Loggers{}, saved.front().string());
  CHECK(rest.error.empty());
  CHECK(rest.module->batches == 12 - (saved.front().filename() == "epoch=0-step=2.ckpt" ? 2 : 4));
}

TEST_CASE("Names of the CSV file's own columns are refused early, and nothing is lost",
          "[trainer]") {
  class Reserved : public Counting {
   public:
    Reserved(std::string name, int where) : name_(std::move(name)), where_(where) {}
    StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
      if (where_ == 1) log(name_, 1.0);
      return Counting::training_step(batch, index);
    }
    void validation_step(const lightning::Batch&, int64_t) override {
      if (where_ == 0) log(name_, 1.0);
    }
    void on_train_epoch_end() override {
      if (where_ == 2) log(name_, 1.0);
    }

   private:
    std::string name_;
    int where_;
  };
  const char* name = GENERATE("step", "epoch", "time_seconds");
  const int where = GENERATE(0, 1, 2);
  CAPTURE(name, where);
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = options_in(folder);
  options.enable_checkpointing = true;
  const auto module = std::make_shared<Reserved>(name, where);
  const Result result =
      fit(options, {saves({})}, module, boring_loader(4), boring_loader(8), std::nullopt);
  CHECK_THAT(result.error, Catch::Contains(std::string("a metric is named \"") + name + "\""));
  CHECK(module->batches == (where == 0 ? 0 : where == 1 ? 1 : 4));
  CHECK(checkpoints_in(folder.path()).size() == (where == 2 ? 1 : 0));
}

TEST_CASE("A resumed fit knows the metrics of its checkpoint", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = options_in(folder);
  options.enable_checkpointing = true;
  CHECK(fit(options, {saves({.monitor = "val_loss"})}).error.empty());
  options.max_epochs = 2;
  const auto resumed = [&](const char* monitor) {
    return fit(options, {saves({.monitor = monitor})}, std::make_shared<Counting>(),
               boring_loader(4), boring_loader(8), lightning::Loggers{}, "last");
  };
  CHECK_THAT(resumed("val_loss").output, !Catch::Contains("known only after"));
  options.max_epochs = 3;
  CHECK_THAT(resumed("val_recall").output,
             Catch::Contains("no sanity check ran in this fit, so whether "
                             "\"val_recall\" (ModelCheckpoint: monitor)"));
  options.max_epochs = 4;
  const Result misspelt = resumed("val_los");
  CHECK(misspelt.module->batches == 0);
  CHECK_THAT(misspelt.error, Catch::Contains("the run that is resumed logged no such metric") &&
                                 Catch::Contains("HINT: write \"val_loss\""));
}

TEST_CASE("A share that leaves no batch is refused before anything runs", "[trainer]") {
  TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  options.num_sanity_val_steps = GENERATE(0, 2);
  options.limit_val_batches = options.limit_test_batches = options.limit_predict_batches = 0.1;
  const auto refused = Catch::Contains("is 0.1 of 2 batches, which leaves none");
  const Result result = fit(options);
  CHECK(result.module->batches == 0);
  CHECK_THAT(result.error, Catch::Contains("limit_val_batches") && refused);

  // The first loader has enough for the share, the second one doesn't.
  class Evaluated : public BoringModule {
   public:
    void validation_step(const lightning::Batch&, int64_t) override { ++batches; }
    void test_step(const lightning::Batch&, int64_t) override { ++batches; }
    lightning::Batch predict_step(const lightning::Batch& batch, int64_t) override {
      ++batches;
      return batch;
    }
    int64_t batches = 0;
  };
  const auto module = std::make_shared<Evaluated>();
  const DataLoaders loaders({boring_loader(40), boring_loader(4)});
  lightning::Trainer trainer(options, {}, lightning::Loggers{});
  CHECK_THROWS_WITH(trainer.validate(module, loaders), refused);
  CHECK_THROWS_WITH(trainer.test(module, loaders), refused);
  CHECK_THROWS_WITH(trainer.predict(module, loaders, {}), refused);
  CHECK(module->batches == 0);
}

TEST_CASE("File names too long for the file system are refused at the start", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = options_in(folder);
  options.enable_checkpointing = true;
  for (const size_t letters : {230, 250, 300}) {
    const Result result =
        fit(options, {saves({.filename = std::string(letters, 'x') + "-{epoch}"})});
    CHECK(result.module->batches == 0);
    CHECK_THAT(result.error, Catch::Contains("ModelCheckpoint: filename is \"xxx") &&
                                 Catch::Contains("at most the 255"));
  }
  CHECK(fit(options, {saves({.filename = std::string(200, 'x') + "-{epoch}"})}).error.empty());
}

TEST_CASE("A fit warns of intervals that never come", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = options_in(folder);
  options.enable_checkpointing = true;
  options.max_epochs = 2;  // 8 steps
  const auto output = [&](const Callbacks& callbacks = {}) {
    return fit(options, callbacks, std::make_shared<Counting>(), boring_loader(4), boring_loader(8),
               std::nullopt)
        .output;
  };
  const auto warns = [](const std::string& text) { return Catch::Contains("warning: " + text); };
  SECTION("log_every_n_steps") {
    CHECK_THAT(output(), warns("Trainer: log_every_n_steps is 50 and this fit has 8 steps"));
    options.log_every_n_steps = 8;
    CHECK_THAT(output(), !Catch::Contains("log_every_n_steps is"));
  }
  SECTION("checkpoints by steps") {
    CHECK_THAT(output({saves({.every_n_train_steps = 9})}),
               warns("ModelCheckpoint: every_n_train_steps is 9 and the fit ends at step 8"));
    CHECK_THAT(output({saves({.every_n_train_steps = 8})}), !Catch::Contains("never comes"));
  }
  SECTION("checkpoints by epochs") {
    CHECK_THAT(output({saves({.every_n_epochs = 3})}),
               warns("ModelCheckpoint: every_n_epochs is 3 and the fit ends after epoch 2"));
    CHECK_THAT(output({saves({.every_n_epochs = 2})}), !Catch::Contains("never comes"));
  }
  SECTION("validations by epochs") {
    options.check_val_every_n_epoch = 3;
    CHECK_THAT(output(), warns("Trainer: check_val_every_n_epoch is 3 and the fit ends after"));
  }
  SECTION("validations by batches") {
    options.check_val_every_n_epoch = std::nullopt;
    options.val_check_interval = 9;
    CHECK_THAT(output(), warns("Trainer: val_check_interval is 9 and the fit has 8 training"));
    options.val_check_interval = 8;
    CHECK_THAT(output(), !Catch::Contains("no validation runs"));
  }
  SECTION("limit_val_batches 0") {
    options.limit_val_batches = 0;
    CHECK_THAT(output(), warns("Trainer: limit_val_batches is 0, so the fit runs no validation"));
  }
}

TEST_CASE("A fit warns of a schedule that is not made for it", "[trainer]") {
  class Scheduled : public Counting {
   public:
    explicit Scheduled(
        std::function<std::shared_ptr<optim::LRScheduler>(std::shared_ptr<torch::optim::Optimizer>)>
            make,
        lightning::Interval interval)
        : make_(std::move(make)), interval_(interval) {}
    lightning::OptimizerList configure_optimizers() override {
      const auto optimizer =
          std::make_shared<optim::SGD>(parameters(), torch::optim::SGDOptions(0.1));
      return lightning::OptimizerConfig{optimizer,
                                        {{.scheduler = make_(optimizer), .interval = interval_}}};
    }

   private:
    std::function<std::shared_ptr<optim::LRScheduler>(std::shared_ptr<torch::optim::Optimizer>)>
        make_;
    lightning::Interval interval_;
  };
  TrainerOptions options = quiet_options();
  options.max_epochs = 2;  // 8 steps
  const auto linear = [&](int64_t warmup, int64_t total) {
    return fit(options, {},
               std::make_shared<Scheduled>(
                   [=](auto optimizer) {
                     return std::make_shared<optim::LinearWarmupLR>(optimizer, warmup, total);
                   },
                   lightning::Interval::kStep))
        .output;
  };
  CHECK_THAT(linear(2, 8), !Catch::Contains("warning: LinearWarmupLR"));
  CHECK_THAT(linear(0, 100), Catch::Contains("made for 100 steps and the fit has 8, so it ends"));
  CHECK_THAT(linear(0, 5),
             Catch::Contains("made for 5 steps and the fit has 8, so the rate stays"));
  CHECK_THAT(linear(9, 100), Catch::Contains("its warmup of 9 steps is not over"));
  const auto steps = [&](int64_t step_size) {
    return fit(options, {},
               std::make_shared<Scheduled>(
                   [=](auto optimizer) {
                     return std::make_shared<optim::StepLR>(optimizer, step_size);
                   },
                   lightning::Interval::kEpoch))
        .output;
  };
  CHECK_THAT(steps(2),
             Catch::Contains("the first change comes after 2 intervals and the fit has 2"));
  CHECK_THAT(steps(1), !Catch::Contains("warning: StepLR"));
}
