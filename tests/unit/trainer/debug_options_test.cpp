// Options that change under which switches of LibTorch, and on which batches, a run works.
#include <catch2/catch.hpp>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/Context.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/anomaly_mode.h>

#include <lightning/loggers/logger.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

using lightning::Batch;
using lightning::DataError;
using lightning::Trainer;
using lightning::TrainerOptions;
using torch::autograd::AnomalyMode;

TrainerOptions one_epoch() {
  TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  return options;
}

/// Notes the modes in which its steps run.
class Modes : public BoringModule {
 public:
  lightning::StepOutput training_step(const Batch& batch, int64_t index) override {
    benchmark = at::globalContext().benchmarkCuDNN();
    anomaly = AnomalyMode::is_enabled();
    return BoringModule::training_step(batch, index);
  }
  void validation_step(const Batch& batch, int64_t) override { note(batch); }
  void test_step(const Batch& batch, int64_t) override { note(batch); }
  Batch predict_step(const Batch& batch, int64_t) override {
    note(batch);
    return {};
  }

  bool inference = false;
  bool gradients = true;
  bool benchmark = false;
  bool anomaly = false;

 private:
  void note(const Batch& batch) {
    inference = c10::InferenceMode::is_enabled();
    gradients = layer->forward(batch["x"]).requires_grad();
    benchmark = at::globalContext().benchmarkCuDNN();
    anomaly = AnomalyMode::is_enabled();
  }
};

/// Batches of each kind by the sum of their values.
class Sums : public BoringModule {
 public:
  lightning::StepOutput training_step(const Batch& batch, int64_t index) override {
    trained.push_back(batch["x"].sum().item<double>());
    return BoringModule::training_step(batch, index);
  }
  void validation_step(const Batch& batch, int64_t) override {
    validated.push_back(batch["x"].sum().item<double>());
  }
  void on_train_epoch_end() override {
    epochs.emplace_back(std::move(trained), std::move(validated));
    trained.clear();
    validated.clear();
  }
  using Batches = std::vector<double>;
  Batches trained;
  Batches validated;
  std::vector<std::pair<Batches, Batches>> epochs;
};

/// Of the data of boring_loader(8), in order, in batches of 2.
Sums::Batches in_order() {
  Sums::Batches sums;
  const auto loader = boring_loader(8);
  while (const auto batch = loader->next()) sums.push_back((*batch)["x"].sum().item<double>());
  return sums;
}

std::shared_ptr<lightning::DataLoader> shuffled_loader() {
  lightning::DataLoaderOptions options;
  options.batch_size = 2;
  options.shuffle = true;
  options.seed = 11;
  return boring_loader(8, options);
}

/// Keeps the hyperparameters that it is given.
class Hyperparameters : public lightning::Logger {
 public:
  std::string_view name() const override { return "Hyperparameters"; }
  size_t count = 0;

 private:
  void do_setup(const lightning::LoggerSetup&) override {}
  void do_log_hyperparameters(
      const std::vector<std::pair<std::string, std::string>>& parameters) override {
    count += parameters.size();
  }
  void do_log_metrics(const lightning::MetricRow&) override {}
  void do_flush() override {}
  void do_finalize(std::string_view) override {}
};

}  // namespace

TEST_CASE("inference_mode is that of evaluations and predictions", "[trainer]") {
  for (const bool inference : {true, false}) {
    TrainerOptions options = one_epoch();
    options.inference_mode = inference;
    const auto module = std::make_shared<Modes>();
    Trainer trainer(options, {}, lightning::Loggers{});
    const auto check = [&](bool expected) {
      CHECK(module->inference == expected);
      CHECK_FALSE(module->gradients);
      module->gradients = true;
    };
    trainer.validate(module, boring_loader());
    check(inference);
    trainer.test(module, boring_loader());
    check(inference);
    trainer.predict(module, boring_loader(), nullptr);
    check(inference);
    // The tensors of a fit are trained on afterwards.
    trainer.fit(module, boring_loader(), boring_loader());
    check(false);
  }
}

TEST_CASE("benchmark sets cudnn.benchmark for the run and puts it back", "[trainer]") {
  struct Case {
    bool before;
    std::optional<bool> benchmark;
    lightning::Deterministic deterministic;
    bool expected;
  };
  const std::vector<Case> cases = {
      {false, true, false, true},        {true, false, false, false},
      {true, std::nullopt, false, true}, {false, std::nullopt, false, false},
      {true, std::nullopt, true, false}, {true, std::nullopt, "warn", false},
      {false, true, true, true},
  };
  for (const Case& c : cases) {
    INFO("before " << c.before << ", deterministic " << c.deterministic.to_text());
    const lightning_tests::CapturedStderr output;
    at::globalContext().setBenchmarkCuDNN(c.before);
    TrainerOptions options = one_epoch();
    options.benchmark = c.benchmark;
    options.deterministic = c.deterministic;
    const auto module = std::make_shared<Modes>();
    Trainer trainer(options, {}, lightning::Loggers{});
    trainer.fit(module, boring_loader());
    CHECK(module->benchmark == c.expected);
    CHECK(at::globalContext().benchmarkCuDNN() == c.before);
    trainer.test(module, boring_loader());
    CHECK(module->benchmark == c.expected);
    CHECK(at::globalContext().benchmarkCuDNN() == c.before);
    const bool warned = output.text().find("deterministic and benchmark") != std::string::npos;
    CHECK(warned == (c.deterministic.on() && c.benchmark.value_or(false)));
  }
  // Also after an error.
  class Throwing : public BoringModule {
   public:
    void on_train_start() override { throw std::runtime_error("mine"); }
  };
  at::globalContext().setBenchmarkCuDNN(false);
  TrainerOptions options = one_epoch();
  options.benchmark = true;
  Trainer trainer(options, {}, lightning::Loggers{});
  CHECK_THROWS_WITH(trainer.fit(std::make_shared<Throwing>(), boring_loader()), "mine");
  CHECK_FALSE(at::globalContext().benchmarkCuDNN());
}

TEST_CASE("detect_anomaly names the operation whose backward gives nan", "[trainer]") {
  /// The root of 0 times 0: a finite loss whose gradient is inf times 0.
  class NanInBackward : public BoringModule {
   public:
    lightning::StepOutput training_step(const Batch& batch, int64_t index) override {
      const at::Tensor y = layer->forward(batch["x"]).square().mean();
      return index == 1 ? y + ((y * 0.0).sqrt() * 0.0) : y;
    }
  };
  TrainerOptions options = one_epoch();
  options.detect_anomaly = true;
  const auto fit = [&] {
    const lightning_tests::CapturedStderr output;
    Trainer trainer(options, {}, lightning::Loggers{});
    trainer.fit(std::make_shared<NanInBackward>(), boring_loader());
  };
  CHECK_THROWS_AS(fit(), DataError);
  {
    const lightning_tests::CapturedStderr output;
    Trainer trainer(options, {}, lightning::Loggers{});
    CHECK_THROWS_AS(trainer.fit(std::make_shared<NanInBackward>(), boring_loader()), DataError);
    CHECK_THAT(output.text(), !Catch::Contains("Traceback of forward call"));
  }
  CHECK_THROWS_WITH(
      fit(),
      "Trainer: the backward of step 2 of epoch 0 gave nan: Function 'SqrtBackward0' returned "
      "nan values in its 0th output. HINT: look at the inputs of that operation in the "
      "forward.");
  CHECK_FALSE(AnomalyMode::is_enabled());
  // A user's own exception passes as it is.
  class Throwing : public BoringModule {
   public:
    void backward(const at::Tensor&) override { throw std::logic_error("mine"); }
  };
  Trainer throwing(options, {}, lightning::Loggers{});
  CHECK_THROWS_AS(throwing.fit(std::make_shared<Throwing>(), boring_loader()), std::logic_error);
}

TEST_CASE("detect_anomaly holds during the training of a fit", "[trainer]") {
  const auto module = std::make_shared<Modes>();
  TrainerOptions options = one_epoch();
  options.detect_anomaly = true;
  {
    const lightning_tests::CapturedStderr output;
    Trainer trainer(options, {}, lightning::Loggers{});
    trainer.fit(module, boring_loader());
    CHECK(module->anomaly);
    trainer.validate(module, boring_loader());
    CHECK_FALSE(module->anomaly);
    CHECK_THAT(output.text(), Catch::Contains("detect_anomaly is true"));
  }
  options.detect_anomaly = false;
  Trainer(options, {}, lightning::Loggers{}).fit(module, boring_loader());
  CHECK_FALSE(module->anomaly);
  // What the program has set stays.
  AnomalyMode::set_enabled(true, /*check_nan=*/false);
  Trainer(options, {}, lightning::Loggers{}).fit(module, boring_loader());
  CHECK(module->anomaly);
  CHECK(AnomalyMode::is_enabled());
  CHECK_FALSE(AnomalyMode::should_check_nan());
  AnomalyMode::set_enabled(false);
}

TEST_CASE("activation_checkpointing without a unit in the model is an error", "[trainer]") {
  TrainerOptions options = one_epoch();
  options.activation_checkpointing = "all";
  Trainer trainer(options, {}, lightning::Loggers{});
  CHECK_THROWS_WITH(trainer.fit(std::make_shared<BoringModule>(), boring_loader()),
                    Catch::Contains("activation_checkpointing is all") && Catch::Contains("HINT"));
}

TEST_CASE("overfit_batches trains and validates on the first training batches", "[trainer]") {
  const Sums::Batches all = in_order();
  for (const lightning::BatchLimit& batches :
       {lightning::BatchLimit(2), lightning::BatchLimit(0.5)}) {
    const lightning_tests::CapturedStderr output;
    TrainerOptions options = quiet_options();
    options.max_epochs = 3;
    options.overfit_batches = batches;
    const auto module = std::make_shared<Sums>();
    const auto train = shuffled_loader();
    options.val_check_interval = 0.5;  // in the middle of an epoch, too
    Trainer(options, {}, lightning::Loggers{}).fit(module, train, boring_loader(2));
    const Sums::Batches first = {all[0], all[1]};
    REQUIRE(module->epochs.size() == 3);
    // The sanity check's batches stand before those of epoch 0.
    for (const auto& [trained, validated] : module->epochs) {
      CHECK(trained == first);
      REQUIRE(validated.size() >= 2);
      CHECK(Sums::Batches(validated.end() - 2, validated.end()) == first);
    }
    CHECK_THAT(output.text(), Catch::Contains("gives its samples in the data set's order"));

    // The loader is the user's again in a fit without the option.
    const auto other = std::make_shared<Sums>();
    TrainerOptions plain = one_epoch();
    plain.num_sanity_val_steps = 0;
    Trainer(plain, {}, lightning::Loggers{}).fit(other, train, boring_loader(2));
    REQUIRE(other->epochs.size() == 1);
    CHECK(other->epochs[0].first.size() == 4);
    CHECK(other->epochs[0].first != all);
    CHECK(other->epochs[0].second.size() == 1);
  }
}

TEST_CASE("overfit_batches validates in the middle of an epoch without moving its place",
          "[trainer]") {
  const Sums::Batches all = in_order();
  TrainerOptions options = one_epoch();
  options.num_sanity_val_steps = 0;
  options.overfit_batches = 4;
  options.val_check_interval = 2;
  const auto module = std::make_shared<Sums>();
  const lightning_tests::CapturedStderr output;
  Trainer(options, {}, lightning::Loggers{}).fit(module, shuffled_loader(), boring_loader(2));
  REQUIRE(module->epochs.size() == 1);
  CHECK(module->epochs[0].first == all);
  Sums::Batches twice = all;
  twice.insert(twice.end(), all.begin(), all.end());
  CHECK(module->epochs[0].second == twice);
}

TEST_CASE("overfit_batches that leaves none is named in the error", "[trainer]") {
  TrainerOptions options = one_epoch();
  options.overfit_batches = 0.1;
  Trainer trainer(options, {}, lightning::Loggers{});
  CHECK_THROWS_WITH(trainer.fit(std::make_shared<BoringModule>(), boring_loader(8)),
                    Catch::Contains("Trainer: overfit_batches is 0.1 of"));
}

TEST_CASE("overfit_batches without validation data validates nothing", "[trainer]") {
  TrainerOptions options = one_epoch();
  options.overfit_batches = 1;
  const auto module = std::make_shared<Sums>();
  Trainer(options, {}, lightning::Loggers{}).fit(module, boring_loader(8));
  REQUIRE(module->epochs.size() == 1);
  CHECK(module->epochs[0].first.size() == 1);
  CHECK(module->epochs[0].second.empty());
}

TEST_CASE("enable_autolog_hparams decides whether loggers get the configuration", "[trainer]") {
  for (const bool logs : {true, false}) {
    const lightning_tests::TemporaryFolder folder;
    TrainerOptions options = one_epoch();
    options.default_root_dir = folder.path();
    options.enable_autolog_hparams = logs;
    const auto logger = std::make_shared<Hyperparameters>();
    Trainer(options, {}, lightning::Loggers{logger})
        .fit(std::make_shared<BoringModule>(), boring_loader());
    CHECK((logger->count > 0) == logs);
  }
}
