// When a fit ends, compared with Lightning 2.6.6 (tests/golden/callbacks/record_callbacks.py).
#include <fstream>
#include <limits>
#include <sstream>

#include <catch2/catch.hpp>

#include <lightning/callbacks/early_stopping.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "callbacks_support.h"
#include "support/temporary_folder.h"

namespace {

using lightning::EarlyStopping;
using lightning::EarlyStoppingOptions;
using lightning::EarlyStoppingReason;
using lightning::MonitorMode;
using lightning::Trainer;
using lightning::TrainerOptions;

struct GoldenCase {
  std::string line;
  EarlyStoppingOptions options;
  std::vector<double> values;
  int64_t epochs;
  std::string reason;
};

std::vector<GoldenCase> golden_cases() {
  std::ifstream file("tests/golden/callbacks/early_stopping.txt");
  REQUIRE(file);
  std::vector<GoldenCase> cases;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string mode, patience, min_delta, stopping, divergence, epochs;
    words >> mode >> patience >> min_delta >> stopping >> divergence;
    GoldenCase golden = {line, {.monitor = "score"}, {}, 0, ""};
    golden.options.mode = mode == "max" ? MonitorMode::kMax : MonitorMode::kMin;
    golden.options.patience = std::stoll(patience);
    golden.options.min_delta = std::stod(min_delta);
    if (stopping != "-") golden.options.stopping_threshold = std::stod(stopping);
    if (divergence != "-") golden.options.divergence_threshold = std::stod(divergence);
    golden.values = lightning_tests::numbers_between_bars(words);
    words >> golden.epochs >> golden.reason;
    cases.push_back(std::move(golden));
  }
  REQUIRE(cases.size() >= 10);
  return cases;
}

}  // namespace

TEST_CASE("EarlyStopping ends a fit when Lightning's does", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  for (const GoldenCase& golden : golden_cases()) {
    INFO(golden.line);
    TrainerOptions options = quiet_options();
    options.default_root_dir = folder.path();
    options.max_epochs = static_cast<int64_t>(golden.values.size());
    const auto stopping = std::make_shared<EarlyStopping>(golden.options);
    Trainer trainer(options, {stopping}, lightning::Loggers{});
    trainer.fit(std::make_shared<ScriptedScore>(golden.values), boring_loader(), boring_loader());
    CHECK(trainer.current_epoch() == golden.epochs);
    CHECK(to_string(stopping->stopping_reason()) == golden.reason);
    const bool stopped = stopping->stopping_reason() != EarlyStoppingReason::kNotStopped;
    CHECK(stopping->stopping_reason_message().empty() == !stopped);
    CHECK(stopping->stopped_epoch() == (stopped ? golden.epochs - 1 : 0));
  }
}

TEST_CASE("EarlyStopping with check_finite off waits for better values", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.default_root_dir = folder.path();
  options.max_epochs = 4;
  Trainer trainer(options,
                  {std::make_shared<EarlyStopping>(
                      EarlyStoppingOptions{.monitor = "score", .check_finite = false})},
                  lightning::Loggers{});
  trainer.fit(std::make_shared<ScriptedScore>(std::vector{5.0, std::nan(""), 4.0, 3.0}),
              boring_loader(), boring_loader());
  CHECK(trainer.current_epoch() == 4);
}

TEST_CASE("EarlyStopping counts on where it was when a run is resumed", "[callbacks]") {
  const std::vector<double> values = {1.0, 0.5, 0.7, 0.7, 0.6, 0.6, 0.6, 0.6};
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.default_root_dir = folder.path();
  const auto fit = [&](int64_t max_epochs, const std::string& ckpt_path) {
    options.max_epochs = max_epochs;
    const auto stopping =
        std::make_shared<EarlyStopping>(EarlyStoppingOptions{.monitor = "score", .patience = 3});
    Trainer trainer(options, {stopping}, lightning::Loggers{});
    trainer.fit(std::make_shared<ScriptedScore>(values), boring_loader(), boring_loader(),
                {.ckpt_path = ckpt_path});
    CHECK(stopping->best_score() == 0.5);
    return std::pair(trainer.current_epoch(), stopping->wait_count());
  };
  CHECK(fit(3, "") == std::pair<int64_t, int64_t>(3, 1));
  // 0.5 is still the best and one look without improvement is behind: two more end it.
  CHECK(fit(8, "last") == std::pair<int64_t, int64_t>(5, 3));
}

TEST_CASE("EarlyStopping knows nothing of an earlier fit", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.default_root_dir = folder.path();
  options.max_epochs = 3;
  const auto stopping =
      std::make_shared<EarlyStopping>(EarlyStoppingOptions{.monitor = "score", .patience = 2});
  Trainer trainer(options, {stopping}, lightning::Loggers{});
  const auto fit = [&](std::vector<double> values) {
    trainer.fit(std::make_shared<ScriptedScore>(std::move(values)), boring_loader(),
                boring_loader());
    return std::pair(trainer.current_epoch(), stopping->best_score());
  };
  CHECK(fit({1.0, 2.0, 2.0}) == std::pair<int64_t, double>(3, 1.0));
  CHECK(fit({9.0, 8.0, 7.0}) == std::pair<int64_t, double>(3, 7.0));
}

TEST_CASE("Two EarlyStoppings of one metric keep their own counts in a resume", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.default_root_dir = folder.path();
  const auto fit = [&](int64_t max_epochs, const std::string& ckpt_path) {
    options.max_epochs = max_epochs;
    const auto low = std::make_shared<EarlyStopping>(
        EarlyStoppingOptions{.monitor = "score", .mode = MonitorMode::kMin, .patience = 50});
    const auto high = std::make_shared<EarlyStopping>(
        EarlyStoppingOptions{.monitor = "score", .mode = MonitorMode::kMax, .patience = 50});
    Trainer trainer(options, {low, high}, lightning::Loggers{});
    trainer.fit(std::make_shared<ScriptedScore>(std::vector{4.0, 3.0, 2.0, 1.0}), boring_loader(),
                boring_loader(), {.ckpt_path = ckpt_path});
    return std::pair(low->wait_count(), high->wait_count());
  };
  CHECK(fit(3, "") == std::pair<int64_t, int64_t>(0, 2));
  CHECK(fit(4, "last") == std::pair<int64_t, int64_t>(0, 3));
}

TEST_CASE("EarlyStopping begins anew with another monitor or mode", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.default_root_dir = folder.path();
  const auto fit = [&](int64_t max_epochs, MonitorMode mode, const std::string& ckpt_path) {
    options.max_epochs = max_epochs;
    const auto stopping = std::make_shared<EarlyStopping>(
        EarlyStoppingOptions{.monitor = "score", .mode = mode, .patience = 3});
    Trainer trainer(options, {stopping}, lightning::Loggers{});
    trainer.fit(std::make_shared<ScriptedScore>(std::vector{1.0, 2.0, 3.0, 4.0}), boring_loader(),
                boring_loader(), {.ckpt_path = ckpt_path});
    return std::pair(stopping->best_score(), stopping->wait_count());
  };
  CHECK(fit(3, MonitorMode::kMin, "") == std::pair<double, int64_t>(1.0, 2));
  CHECK(fit(4, MonitorMode::kMax, "last") == std::pair<double, int64_t>(4.0, 0));
}

TEST_CASE("EarlyStopping judges a value once, and none of an earlier epoch", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.default_root_dir = folder.path();
  // The third epoch is cut short: it has no validation.
  options.max_steps = 7;
  const auto stopping =
      std::make_shared<EarlyStopping>(EarlyStoppingOptions{.monitor = "score", .patience = 9});
  Trainer trainer(options, {stopping}, lightning::Loggers{});
  trainer.fit(std::make_shared<ScriptedScore>(std::vector{1.0, 2.0, 3.0}), boring_loader(),
              boring_loader());
  CHECK(stopping->wait_count() == 1);
}

TEST_CASE("EarlyStopping without strict waits for a metric that isn't there", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.default_root_dir = folder.path();
  options.max_epochs = 3;
  const auto fit = [&](bool strict) {
    const auto stopping = std::make_shared<EarlyStopping>(
        EarlyStoppingOptions{.monitor = "unheard_of", .patience = 0, .strict = strict});
    Trainer trainer(options, {stopping}, lightning::Loggers{});
    trainer.fit(std::make_shared<BoringModule>(), boring_loader(), boring_loader());
    CHECK(stopping->wait_count() == 0);
    return trainer.current_epoch();
  };
  CHECK(fit(false) == 3);
  CHECK_THROWS_AS(fit(true), lightning::ConfigError);
}

TEST_CASE("EarlyStopping looks at epoch ends or after validations", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.default_root_dir = folder.path();
  options.max_epochs = 2;
  options.val_check_interval = 1;  // three validations in each epoch, each worse than the last
  const auto looks = [&](std::optional<bool> check_on_train_epoch_end) {
    const auto stopping = std::make_shared<EarlyStopping>(EarlyStoppingOptions{
        .monitor = "score", .patience = 50, .check_on_train_epoch_end = check_on_train_epoch_end});
    Trainer trainer(options, {stopping}, lightning::Loggers{});
    trainer.fit(std::make_shared<ScoresSteps>(), boring_loader(), boring_loader());
    return stopping->wait_count() + 1;  // the first look is an improvement
  };
  CHECK(looks(true) == 2);
  CHECK(looks(false) == 6);
  CHECK(looks(std::nullopt) == 6);
  options.val_check_interval = 1.0;
  CHECK(looks(false) == 2);
  CHECK(looks(std::nullopt) == 2);
}

TEST_CASE("EarlyStopping is silent in a fast_dev_run", "[callbacks]") {
  TrainerOptions options = quiet_options();
  options.fast_dev_run = 3;
  options.val_check_interval = 1;
  const auto stopping =
      std::make_shared<EarlyStopping>(EarlyStoppingOptions{.monitor = "score", .patience = 0});
  Trainer trainer(options, {stopping}, lightning::Loggers{});
  trainer.fit(std::make_shared<ScoresSteps>(), boring_loader(), boring_loader());
  CHECK(trainer.global_step() == 3);
  CHECK(stopping->stopping_reason() == EarlyStoppingReason::kNotStopped);
}

TEST_CASE("EarlyStopping's reason is in its state", "[callbacks]") {
  const EarlyStoppingOptions options = {.monitor = "score"};
  EarlyStopping stopping(options);
  lightning::StateDict state = stopping.state_dict();
  CHECK(state.get<std::string>("stopping_reason") == "not_stopped");
  state.set("stopping_reason", "patience_exhausted");
  state.set("stopping_reason_message", "score did not improve");
  state.set("stopped_epoch", 7);
  stopping.load_state_dict(state);
  CHECK(stopping.stopping_reason() == EarlyStoppingReason::kPatienceExhausted);
  CHECK(stopping.stopping_reason_message() == "score did not improve");
  CHECK(stopping.stopped_epoch() == 7);
  state.set("stopping_reason", "boredom");
  CHECK_THROWS_AS(stopping.load_state_dict(state), lightning::CheckpointError);
}

TEST_CASE("EarlyStopping refuses options out of range", "[callbacks]") {
  CHECK_THROWS_WITH(EarlyStopping(EarlyStoppingOptions{}), Catch::Contains("monitor is empty"));
  CHECK_THROWS_WITH(EarlyStopping({.monitor = "x", .patience = -1}), Catch::Contains("patience"));
  CHECK_THROWS_WITH(EarlyStopping({.monitor = "x", .min_delta = -0.1}),
                    Catch::Contains("min_delta"));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(EarlyStopping({.monitor = "x", .stopping_threshold = nan}),
                    Catch::Contains("stopping_threshold is nan"));
  CHECK_THROWS_WITH(EarlyStopping({.monitor = "x", .divergence_threshold = nan}),
                    Catch::Contains("divergence_threshold is nan"));
}
