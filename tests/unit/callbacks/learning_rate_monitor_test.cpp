// Names, values and places of what LearningRateMonitor logs, compared with Lightning 2.6.6
// (tests/golden/metrics/record_metrics.py).
#include <catch2/catch.hpp>

#include <lightning/callbacks/learning_rate_monitor.h>
#include <lightning/optim/lr_schedules.h>
#include <lightning/trainer/trainer.h>

#include "support/boring_module.h"
#include "support/metric_rows.h"
#include "support/temporary_folder.h"

namespace {

using lightning::Interval;
using lightning::OptimizerConfig;
using lightning::OptimizerList;
using lightning_tests::MetricRows;
using OptimizerPtr = std::shared_ptr<torch::optim::Optimizer>;

/// Two layers under the optimizer that a test makes.
class Scheduled : public BoringModule {
 public:
  explicit Scheduled(std::function<OptimizerList(Scheduled&)> configure)
      : configure_(std::move(configure)) {
    second = register_module("second", torch::nn::Linear(2, 1));
  }
  OptimizerList configure_optimizers() override { return configure_(*this); }

  torch::nn::Linear second{nullptr};

 private:
  std::function<OptimizerList(Scheduled&)> configure_;
};

OptimizerPtr sgd(Scheduled& module) {
  return std::make_shared<lightning::optim::SGD>(module.parameters(),
                                                 torch::optim::SGDOptions(0.5));
}

OptimizerPtr adamw(Scheduled& module) {
  return std::make_shared<lightning::optim::AdamW>(module.parameters(),
                                                   torch::optim::AdamWOptions(0.5));
}

OptimizerPtr adamw_of_two_groups(Scheduled& module) {
  std::vector<torch::optim::OptimizerParamGroup> groups;
  for (const auto& [layer, rate] : {std::pair(module.layer, 0.5), std::pair(module.second, 2.0)}) {
    groups.emplace_back(layer->parameters(), std::make_unique<torch::optim::AdamWOptions>(rate));
  }
  return std::make_shared<lightning::optim::AdamW>(std::move(groups),
                                                   torch::optim::AdamWOptions(0.5));
}

std::shared_ptr<lightning::optim::LRScheduler> halved(const OptimizerPtr& optimizer) {
  return std::make_shared<lightning::optim::StepLR>(optimizer, 1, 0.5);
}

std::shared_ptr<lightning::optim::LRScheduler> rising(const OptimizerPtr& optimizer) {
  return std::make_shared<lightning::optim::LambdaLR>(
      optimizer, [](int64_t step) { return 1.0 + static_cast<double>(step); });
}

lightning_tests::Lines fit(std::function<OptimizerList(Scheduled&)> configure, Interval interval,
                           int64_t log_every_n_steps, int64_t samples = 6) {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 3;
  options.log_every_n_steps = log_every_n_steps;
  options.default_root_dir = folder.path();
  const auto rows = std::make_shared<MetricRows>();
  lightning::Trainer trainer(
      options,
      {std::make_shared<lightning::LearningRateMonitor>(
          lightning::LearningRateMonitorOptions{.logging_interval = interval})},
      lightning::Loggers{rows});
  trainer.fit(std::make_shared<Scheduled>(std::move(configure)), boring_loader(samples));
  return rows->lines;
}

lightning_tests::Lines golden(const std::string& name) {
  return lightning_tests::golden_rows("learning_rates.txt", name);
}

}  // namespace

TEST_CASE("LearningRateMonitor logs what each step was made with, as in Lightning", "[callbacks]") {
  using lightning_tests::with_completed_steps;
  SECTION("under a schedule per epoch") {
    const auto configure = [](Scheduled& module) {
      const OptimizerPtr optimizer = sgd(module);
      return OptimizerConfig{optimizer, {{halved(optimizer), Interval::kEpoch}}};
    };
    CHECK(fit(configure, Interval::kStep, 1) ==
          with_completed_steps(golden("steps of a schedule per epoch")));
  }
  SECTION("of each group") {
    const auto configure = [](Scheduled& module) {
      const OptimizerPtr optimizer = adamw_of_two_groups(module);
      return OptimizerConfig{optimizer, {{rising(optimizer), Interval::kStep}}};
    };
    CHECK(fit(configure, Interval::kStep, 1) == with_completed_steps(golden("two groups")));
  }
  SECTION("under the schedule's name, at every third step, scheduled at every second") {
    const auto configure = [](Scheduled& module) {
      const OptimizerPtr optimizer = adamw(module);
      return OptimizerConfig{optimizer, {{rising(optimizer), Interval::kStep, 2, "rate"}}};
    };
    CHECK(fit(configure, Interval::kStep, 3, 8) == with_completed_steps(golden("named")));
  }
  SECTION("without a schedule") {
    CHECK(fit([](Scheduled& module) { return OptimizerConfig{adamw(module)}; }, Interval::kStep,
              3) == with_completed_steps(golden("no schedule")));
  }
}

TEST_CASE("LearningRateMonitor logs the rates of all optimizers", "[callbacks]") {
  // Lightning's names: a second one of a class is numbered from 1.
  class Manual : public Scheduled {
   public:
    Manual()
        : Scheduled([](Scheduled& module) {
            std::vector<OptimizerConfig> configs;
            for (const auto& [linear, rate] :
                 {std::pair(module.layer, 0.5), std::pair(module.second, 2.0)}) {
              configs.push_back({std::make_shared<lightning::optim::SGD>(
                  linear->parameters(), torch::optim::SGDOptions(rate))});
            }
            return configs;
          }) {
      set_automatic_optimization(false);
    }
    lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
      manual_backward((layer->forward(batch["x"]) + second->forward(batch["x"])).mean());
      optimizer(0).step();
      optimizer(1).step();
      return lightning::StepOutput::skip();
    }
  };
  for (const Interval interval : {Interval::kStep, Interval::kEpoch}) {
    lightning::TrainerOptions options = quiet_options();
    options.max_epochs = 1;
    lightning::Trainer trainer(
        options,
        {std::make_shared<lightning::LearningRateMonitor>(
            lightning::LearningRateMonitorOptions{.logging_interval = interval})},
        lightning::Loggers{});
    trainer.fit(std::make_shared<Manual>(), boring_loader());
    CHECK(trainer.callback_metrics().at("lr-SGD") == 0.5);
    CHECK(trainer.callback_metrics().at("lr-SGD-1") == 2.0);
  }
}

TEST_CASE("LearningRateMonitor has an entry for each schedule", "[callbacks]") {
  const auto configure = [](Scheduled& module) {
    const OptimizerPtr optimizer = adamw_of_two_groups(module);
    return OptimizerConfig{optimizer,
                           {{.scheduler = halved(optimizer)},
                            {.scheduler = rising(optimizer), .interval = Interval::kStep},
                            {.scheduler = halved(optimizer), .name = "named"}}};
  };
  CHECK(fit(configure, Interval::kStep, 1) ==
        lightning_tests::with_completed_steps(golden("three schedules")));
}

TEST_CASE("LearningRateMonitor logs what each epoch began with, in the epoch's row",
          "[callbacks]") {
  const auto configure = [](Scheduled& module) {
    const OptimizerPtr optimizer = sgd(module);
    return OptimizerConfig{optimizer, {{halved(optimizer), Interval::kEpoch, 2}}};
  };
  // Lightning writes a row of its own at the epoch's beginning, with the same values.
  lightning_tests::Lines expected = golden("every second epoch");
  for (size_t epoch = 0; epoch < expected.size(); ++epoch) {
    expected[epoch] = std::to_string(3 * (epoch + 1)) + expected[epoch].substr(1);
  }
  CHECK(fit(configure, Interval::kEpoch, 1) == expected);
}
