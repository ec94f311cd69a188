// What a fit checks before it begins, and what it says when nothing came of it.
#include <functional>
#include <regex>

#include <catch2/catch.hpp>

#include <lightning/callbacks/early_stopping.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
namespace optim = lightning::optim;
using lightning::Callbacks;
using lightning::ConfigError;
using lightning::DataLoaders;
using lightning::StepOutput;
using lightning::TrainerOptions;

/// Counts its training batches; logs what it is told to.
class Counting : public BoringModule {
 public:
  StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
    ++batches;
    if (logs_training) log("train_loss", 1.0);
    return output ? output(index) : BoringModule::training_step(batch, index);
  }
  void on_train_epoch_end() override {
    if (logs_training) log("train_f1", 1.0);
  }
  void validation_step(const lightning::Batch& batch, int64_t index) override {
    BoringModule::validation_step(batch, index);
    if (!trainer().sanity_checking()) log("val_f1", 1.0);
  }
  std::function<StepOutput(int64_t)> output;
  bool logs_training = true;
  int64_t batches = 0;
};

struct Result {
  std::shared_ptr<Counting> module = std::make_shared<Counting>();
  std::string output;
  std::string error;
  size_t count(const std::string& text) const {
    size_t found = 0;
    for (size_t at = 0; (at = output.find(text, at)) != std::string::npos; ++at) ++found;
    return found;
  }
};

/// Training data of 4 batches; options.default_root_dir is where the run writes.
Result fit(const TrainerOptions& options, const Callbacks& callbacks = {},
           const std::shared_ptr<Counting>& module = std::make_shared<Counting>(),
           DataLoaders val = boring_loader(4), DataLoaders train = boring_loader(8),
           std::optional<lightning::Loggers> loggers = lightning::Loggers{},
           const std::string& ckpt_path = "") {
  Result result;
  result.module = module;
  const lightning_tests::CapturedStderr output;
  try {
    lightning::Trainer trainer(options, callbacks, std::move(loggers));
    trainer.fit(module, std::move(train), std::move(val), {.ckpt_path = ckpt_path});
  } catch (const lightning::Error& error) {
    result.error = error.what();
  }
  result.output = output.text();
  return result;
}

TrainerOptions options_in(const lightning_tests::TemporaryFolder& folder) {
  TrainerOptions options = quiet_options();
  options.default_root_dir = folder.path();
  options.max_epochs = 1;
  return options;
}

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

class EmptyStream : public lightning::IterableDataset {
 public:
  explicit EmptyStream(int64_t epochs_with_data) : epochs_(epochs_with_data) {}
  void begin_epoch(int64_t epoch, uint64_t) override { left_ = epoch < epochs_ ? 4 : 0; }
  std::optional<lightning::Batch> next() override {
    if (left_ == 0) return std::nullopt;
    --left_;
    return lightning::Batch({{"x", torch::ones({2})}});
  }
  lightning::StateDict state_dict() const override { return {}; }
  void load_state_dict(const lightning::StateDict&) override {}

 private:
  int64_t epochs_;
  int64_t left_ = 0;
};

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
                                        {.scheduler = make_(optimizer), .interval = interval_}};
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

TEST_CASE("Batches without a loss are told apart from batches that were skipped", "[trainer]") {
  TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  const auto module = std::make_shared<Counting>();
  const std::string forgotten = "warning: LightningModule: training_step() returned an undefined";
  const std::string nothing =
      "warning: Trainer: no step was made in epoch 0, since training_step() "
      "returned ";
  SECTION("all undefined") {
    module->output = [](int64_t) { return StepOutput(at::Tensor()); };
    const Result result = fit(options, {}, module);
    CHECK(result.count(forgotten) == 1);
    CHECK(result.count(nothing + "an undefined tensor for 4 of 4 batches") == 1);
  }
  SECTION("all skipped") {
    module->output = [](int64_t) { return StepOutput::skip(); };
    const Result result = fit(options, {}, module);
    CHECK(result.count("undefined") == 0);
    CHECK(result.count(nothing + "StepOutput::skip() for 4 of 4 batches") == 1);
  }
  SECTION("all skipped until the fit stops inside an epoch") {
    module->output = [&](int64_t) {
      module->trainer().request_stop("enough");
      return StepOutput::skip();
    };
    const Result result = fit(options, {}, module);
    CHECK(result.count("warning: Trainer: no step was made, since training_step() returned "
                       "StepOutput::skip() for 1 of 1 batches") == 1);
  }
  SECTION("some of each") {
    module->output = [&](int64_t index) {
      if (index == 0) return StepOutput::skip();
      if (index == 1) return StepOutput(at::Tensor());
      return StepOutput(module->layer->weight.sum());
    };
    const Result result = fit(options, {}, module);
    CHECK(result.count(forgotten) == 1);
    CHECK(result.count("no step was made") == 0);
  }
}

TEST_CASE("A fit that trains nothing says which option is the reason", "[trainer]") {
  TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  std::string reason;
  SECTION("limit_train_batches") {
    options.limit_train_batches = 0;
    reason = "there are no training batches (limit_train_batches is 0)";
  }
  SECTION("limit_train_batches as a share") {
    options.limit_train_batches = 0.0;
    reason = "there are no training batches (limit_train_batches is 0.0)";
  }
  SECTION("max_epochs") {
    options.max_epochs = 0;
    reason = "max_epochs=0 reached";
  }
  SECTION("max_steps") {
    options.max_steps = 0;
    reason = "max_steps=0 reached";
  }
  const Result result = fit(options);
  CHECK(result.module->batches == 0);
  CHECK(result.count("warning: Trainer: nothing was trained: " + reason) == 1);
  CHECK(result.count("fit ended, " + reason + ": 0 steps") == 1);
}

TEST_CASE("A resumed fit that is over already says so", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = options_in(folder);
  options.enable_checkpointing = true;
  fit(options);
  const Result result = fit(options, {}, std::make_shared<Counting>(), boring_loader(4),
                            boring_loader(8), lightning::Loggers{}, "last");
  CHECK_THAT(result.output, Catch::Contains("nothing was trained: max_epochs=1 reached, the "
                                            "checkpoint is of epoch 1 and step 4"));
}

TEST_CASE("Why a fit ended is what ended it", "[trainer]") {
  TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  const auto module = std::make_shared<Counting>();
  std::string reason;
  SECTION("max_epochs") { reason = "max_epochs=2 reached: 8 steps"; }
  SECTION("max_steps") {
    options.max_steps = 5;
    reason = "max_steps=5 reached: 5 steps";
  }
  SECTION("a request") {
    module->output = [&](int64_t) {
      module->trainer().request_stop("seen enough");
      return StepOutput(module->layer->weight.sum());
    };
    reason = "seen enough: 1 steps";
  }
  SECTION("a request without a reason") {
    module->output = [&](int64_t) {
      module->trainer().request_stop("");
      return StepOutput(module->layer->weight.sum());
    };
    reason = "a stop was requested: 1 steps";
  }
  SECTION("a request that min_steps held back until the last step") {
    options.min_steps = options.max_steps = 3;
    module->output = [&](int64_t) {
      module->trainer().request_stop("seen enough");
      return StepOutput(module->layer->weight.sum());
    };
    reason = "max_steps=3 reached: 3 steps";
  }
  CHECK_THAT(fit(options, {}, module).output, Catch::Contains("fit ended, " + reason));
}

TEST_CASE("The speed at the end is that of the line's own numbers", "[trainer]") {
  TrainerOptions options = quiet_options();
  options.max_epochs = 5;
  const std::string output = fit(options).output;
  std::smatch match;
  REQUIRE(std::regex_search(
      output, match,
      std::regex(": (\\d+) steps in ([\\d.e+-]+) s \\(([\\d.e+-]+) steps/s in all")));
  CHECK(std::stod(match[3]) == Approx(std::stod(match[1]) / std::stod(match[2])).epsilon(0.001));
}

TEST_CASE("Data that gives no batch is named with its reason", "[trainer]") {
  TrainerOptions options = quiet_options();
  options.max_epochs = 3;
  const auto empty = [] { return boring_loader(0); };
  const auto dropped = [] { return boring_loader(1, {.batch_size = 2, .drop_last = true}); };
  const auto module = std::make_shared<Counting>();
  SECTION("training") {
    CHECK_THAT(fit(options, {}, module, {}, empty()).error,
               Catch::Contains("the data set is empty"));
    CHECK_THAT(fit(options, {}, module, {}, dropped()).error,
               Catch::Contains("drop_last leaves out the only batch"));
  }
  SECTION("validation") {
    const Result result = fit(options, {}, module, empty());
    CHECK(result.error.empty());
    CHECK(result.count("warning: Trainer: the validation ran no batch, since the data set is "
                       "empty") == 1);
    CHECK(fit(options, {}, module, dropped()).count("since drop_last leaves out") == 1);
  }
  SECTION("a stream") {
    const auto stream = [](int64_t epochs) {
      return std::make_shared<lightning::DataLoader>(std::make_shared<EmptyStream>(epochs),
                                                     lightning::DataLoaderOptions{.batch_size = 2});
    };
    CHECK_THAT(fit(options, {}, module, {}, stream(0)).error,
               Catch::Contains("the training data gave no batch in epoch 0"));
    options.max_epochs = -1;
    options.max_steps = 1000;
    const Result result = fit(options, {}, module, {}, stream(1));
    CHECK(result.error.empty());
    CHECK_THAT(result.output, Catch::Contains("fit ended, the training data gave no batch in epoch "
                                              "1: 2 steps"));
  }
  SECTION("evaluations") {
    lightning::Trainer trainer(options, {}, lightning::Loggers{});
    const lightning_tests::CapturedStderr output;
    trainer.validate(module, empty());
    trainer.test(module, dropped());
    trainer.predict(module, empty(), {});
    TrainerOptions none = options;
    none.limit_predict_batches = 0;
    lightning::Trainer(none, {}, lightning::Loggers{}).predict(module, boring_loader(4), {});
    const std::string text = output.text();
    CHECK_THAT(text, Catch::Contains("the validation ran no batch, since the data set is empty") &&
                         Catch::Contains("the test ran no batch, since drop_last leaves out") &&
                         Catch::Contains("the prediction ran no batch, since the data set") &&
                         Catch::Contains("since limit_predict_batches is 0."));
  }
}

TEST_CASE("A fit without a row of metrics says why", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = options_in(folder);
  const auto module = std::make_shared<Counting>();
  const auto output = [&](DataLoaders val) {
    return fit(options, {}, module, std::move(val), boring_loader(8), std::nullopt).output;
  };
  module->logs_training = false;
  options.log_every_n_steps = 1;
  CHECK_THAT(output({}), Catch::Contains("no row of metrics was logged, since the module logged "
                                         "nothing"));
  CHECK_THAT(output(boring_loader(4)), !Catch::Contains("no row of metrics"));
}
