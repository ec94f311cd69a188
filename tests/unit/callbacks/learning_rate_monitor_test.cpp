// Names, values and places of what LearningRateMonitor logs, compared with Lightning 2.6.6
// (tests/golden/metrics/record_metrics.py).
#include <catch2/catch.hpp>

#include <lightning/callbacks/finetuning.h>
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

lightning_tests::Lines fit(std::shared_ptr<lightning::LightningModule> module,
                           lightning::LearningRateMonitorOptions monitor, int64_t log_every_n_steps,
                           int64_t samples = 6, lightning::Callbacks further = {}) {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 3;
  options.log_every_n_steps = log_every_n_steps;
  options.default_root_dir = folder.path();
  const auto rows = std::make_shared<MetricRows>();
  lightning::Callbacks callbacks = std::move(further);
  callbacks.push_back(std::make_shared<lightning::LearningRateMonitor>(monitor));
  lightning::Trainer trainer(options, std::move(callbacks), lightning::Loggers{rows});
  trainer.fit(std::move(module), boring_loader(samples));
  return rows->lines;
}

lightning_tests::Lines fit(std::function<OptimizerList(Scheduled&)> configure,
                           std::optional<Interval> interval, int64_t log_every_n_steps,
                           int64_t samples = 6) {
  return fit(std::make_shared<Scheduled>(std::move(configure)), {.logging_interval = interval},
             log_every_n_steps, samples);
}

/// Rows of epochs: Lightning writes one of its own at each epoch's beginning, with the same values.
lightning_tests::Lines at_epoch_ends(lightning_tests::Lines lines) {
  for (size_t epoch = 0; epoch < lines.size(); ++epoch) {
    lines[epoch] = std::to_string(3 * (epoch + 1)) + lines[epoch].substr(1);
  }
  return lines;
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
  CHECK(fit(configure, Interval::kEpoch, 1) == at_epoch_ends(golden("every second epoch")));
}

TEST_CASE("LearningRateMonitor without an interval logs as the schedule steps", "[callbacks]") {
  const auto configure = [](Interval interval) {
    return [interval](Scheduled& module) {
      const OptimizerPtr optimizer = sgd(module);
      return OptimizerConfig{optimizer, {{halved(optimizer), interval}}};
    };
  };
  CHECK(fit(configure(Interval::kEpoch), std::nullopt, 1) ==
        at_epoch_ends(golden("no interval, schedule per epoch")));
  CHECK(fit(configure(Interval::kStep), std::nullopt, 1) ==
        lightning_tests::with_completed_steps(golden("no interval, schedule per step")));
}

TEST_CASE("LearningRateMonitor logs momentum and weight decay, as in Lightning", "[callbacks]") {
  const lightning::LearningRateMonitorOptions monitor = {
      .logging_interval = Interval::kStep, .log_momentum = true, .log_weight_decay = true};
  SECTION("of AdamW") {
    const auto module = std::make_shared<Scheduled>([](Scheduled& of) {
      const OptimizerPtr optimizer = adamw(of);
      return OptimizerConfig{optimizer, {{rising(optimizer), Interval::kStep}}};
    });
    CHECK(fit(module, monitor, 1) ==
          lightning_tests::with_completed_steps(golden("momentum and weight decay")));
  }
  SECTION("of two optimizers, those with a schedule named first") {
    class Manual : public BoringModule {
     public:
      Manual() {
        second = register_module("second", torch::nn::Linear(2, 1));
        third = register_module("third", torch::nn::Linear(2, 1));
        set_automatic_optimization(false);
      }
      lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
        const at::Tensor& x = batch["x"];
        manual_backward((layer->forward(x) + second->forward(x) + third->forward(x)).mean());
        optimizer(0).step();
        optimizer(1).step();
        return lightning::StepOutput::skip();
      }
      void on_train_epoch_end() override { lr_scheduler(1).step(); }
      OptimizerList configure_optimizers() override {
        std::vector<torch::optim::OptimizerParamGroup> groups;
        groups.emplace_back(second->parameters(), std::make_unique<torch::optim::SGDOptions>(2.0));
        auto decayed = std::make_unique<torch::optim::SGDOptions>(4.0);
        decayed->weight_decay(0.01);
        groups.emplace_back(third->parameters(), std::move(decayed));
        const OptimizerPtr plain = std::make_shared<lightning::optim::SGD>(
            layer->parameters(), torch::optim::SGDOptions(0.5).momentum(0.9));
        const OptimizerPtr grouped = std::make_shared<lightning::optim::SGD>(
            std::move(groups), torch::optim::SGDOptions(1.0));
        return std::vector<OptimizerConfig>{{plain}, {grouped, {halved(grouped)}}};
      }
      torch::nn::Linear second{nullptr};
      torch::nn::Linear third{nullptr};
    };
    CHECK(fit(std::make_shared<Manual>(), monitor, 1) ==
          lightning_tests::with_completed_steps(golden("two optimizers")));
  }
}

TEST_CASE("LearningRateMonitor names groups that are added later", "[callbacks]") {
  const auto module = std::make_shared<Scheduled>([](Scheduled& of) {
    return OptimizerConfig{std::make_shared<lightning::optim::SGD>(of.layer->parameters(),
                                                                   torch::optim::SGDOptions(0.5))};
  });
  const auto finetuning =
      std::make_shared<lightning::BackboneFinetuning>(lightning::BackboneFinetuningOptions{
          .backbone = "second", .unfreeze_backbone_at_epoch = 1, .backbone_initial_lr = 0.25});
  const lightning_tests::Lines rows = fit(module, {}, 3, 6, {finetuning});
  CHECK(rows == lightning_tests::Lines{"3 lr-SGD=0.5", "6 lr-SGD/pg1=0.5 lr-SGD/pg2=0.25",
                                       "9 lr-SGD/pg1=0.5 lr-SGD/pg2=0.5"});
}

TEST_CASE("LearningRateMonitor takes a different interval in a resumed run", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  const auto fit_steps = [&](Interval interval, int64_t max_steps, const std::string& from,
                             const std::string& to) {
    lightning::TrainerOptions options = quiet_options();
    options.max_epochs = 3;
    options.max_steps = max_steps;
    options.log_every_n_steps = 1;
    options.default_root_dir = folder.path();
    const auto module = std::make_shared<Scheduled>([](Scheduled& of) {
      const OptimizerPtr optimizer = sgd(of);
      return OptimizerConfig{optimizer, {{halved(optimizer), Interval::kEpoch}}};
    });
    const auto rows = std::make_shared<MetricRows>();
    lightning::Trainer trainer(
        options,
        {std::make_shared<lightning::LearningRateMonitor>(
            lightning::LearningRateMonitorOptions{.logging_interval = interval})},
        lightning::Loggers{rows});
    trainer.fit(module, boring_loader(6), {}, {.ckpt_path = from});
    trainer.save_checkpoint(to);
    return rows->lines;
  };
  // Each stops after the first of the second epoch's three steps.
  const std::string of_epochs = (folder.path() / "of_epochs.ckpt").string();
  const std::string of_steps = (folder.path() / "of_steps.ckpt").string();
  const std::string after = (folder.path() / "after.ckpt").string();
  fit_steps(Interval::kEpoch, 4, "", of_epochs);
  fit_steps(Interval::kStep, 4, "", of_steps);
  SECTION("from epochs to steps") {
    CHECK(fit_steps(Interval::kStep, -1, of_epochs, after) ==
          lightning_tests::Lines{"5 lr-SGD=0.25", "6 lr-SGD=0.25", "7 lr-SGD=0.125",
                                 "8 lr-SGD=0.125", "9 lr-SGD=0.125"});
  }
  SECTION("from steps to epochs, from the next one on") {
    CHECK(fit_steps(Interval::kEpoch, -1, of_steps, after) ==
          lightning_tests::Lines{"9 lr-SGD=0.125"});
  }
}

TEST_CASE("LearningRateMonitor refuses states of a broken checkpoint", "[callbacks]") {
  lightning::StateDict state;
  state.set("names", std::vector<std::string>{"lr-SGD"});
  state.set("optimizers", std::vector<int64_t>{0});
  state.set("per_epoch", std::vector<int64_t>{1});
  lightning::LearningRateMonitor monitor;
  CHECK_NOTHROW(monitor.load_state_dict(state));
  state.set("per_epoch", std::vector<int64_t>{1, 0});
  CHECK_THROWS_WITH(monitor.load_state_dict(state),
                    Catch::Contains("1 names, 1 optimizers and 2 intervals"));
  CHECK(monitor.state_key() ==
        "LearningRateMonitor(logging_interval=null,log_momentum=false,log_weight_decay=false)");
}
