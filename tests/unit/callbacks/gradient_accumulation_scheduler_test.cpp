// Weights under a changing accumulation, compared with Lightning 2.6.6
// (tests/golden/callbacks/record_training_callbacks.py).
#include <limits>

#include <catch2/catch.hpp>

#include <lightning/callbacks/gradient_accumulation_scheduler.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/callbacks/registry.h>
#include <lightning/config/yaml.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "callbacks_support.h"
#include "golden_training.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

using lightning::AccumulationSchedule;
using lightning::GradientAccumulationScheduler;
using lightning_tests::cosine_loader;
using lightning_tests::fill_with_sines;
using lightning_tests::weights_of;

std::shared_ptr<GradientAccumulationScheduler> scheduler(AccumulationSchedule scheduling) {
  return std::make_shared<GradientAccumulationScheduler>(
      lightning::GradientAccumulationSchedulerOptions{.scheduling = std::move(scheduling)});
}

/// Notes its weights after each optimizer step.
class Accumulates : public lightning::LightningModule {
 public:
  Accumulates() {
    layer = register_module("layer", torch::nn::Linear(2, 1));
    layer->to(at::kDouble);
    fill_with_sines(*this);
  }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    return layer->forward(batch["x"]).square().mean();
  }
  void on_train_batch_end(const lightning::StepOutput&, const lightning::Batch&, int64_t) override {
    if (global_step() > last_step_) weights.push_back(weights_of(*this));
    last_step_ = global_step();
  }
  lightning::OptimizerList configure_optimizers() override {
    return std::make_shared<lightning::optim::SGD>(parameters(),
                                                   torch::optim::SGDOptions(0.05).momentum(0.9));
  }

  torch::nn::Linear layer{nullptr};
  std::vector<at::Tensor> weights;

 private:
  int64_t last_step_ = 0;
};

/// Asks for the steps of the whole fit, as schedules do.
class Plans : public BoringModule {
 public:
  lightning::OptimizerList configure_optimizers() override {
    planned = trainer().estimated_stepping_batches();
    return BoringModule::configure_optimizers();
  }
  int64_t planned = 0;
};

}  // namespace

TEST_CASE("GradientAccumulationScheduler trains as Lightning's does", "[callbacks]") {
  const std::vector<std::vector<double>> golden =
      lightning_tests::numbers_of_lines("tests/golden/callbacks/accumulation_schedule.txt");
  REQUIRE(golden.size() > 100);
  lightning::TrainerOptions options = quiet_options();
  options.precision = "64-true";
  options.max_epochs = 19;
  const auto module = std::make_shared<Accumulates>();
  lightning::Trainer trainer(options, {scheduler({{5, 2}, {10, 3}})}, lightning::Loggers{});
  trainer.fit(module, cosine_loader(20));
  REQUIRE(module->weights.size() == golden.size());
  for (size_t step = 0; step < golden.size(); ++step) {
    INFO("step " << step + 1);
    REQUIRE(
        at::allclose(module->weights[step], at::tensor(golden[step], at::kDouble), 1e-10, 1e-10));
  }
}

TEST_CASE("GradientAccumulationScheduler resumes bitwise in each epoch", "[callbacks]") {
  const auto fit = [](const std::filesystem::path& folder, int64_t max_steps, bool resume) {
    lightning::TrainerOptions options = quiet_options();
    options.enable_checkpointing = true;
    options.default_root_dir = folder;
    options.max_epochs = 4;
    options.max_steps = max_steps;
    torch::manual_seed(3);
    const auto module = std::make_shared<BoringModule>();
    lightning::Trainer trainer(options,
                               {scheduler({{1, 2}, {3, 3}}),
                                std::make_shared<lightning::ModelCheckpoint>(
                                    lightning::ModelCheckpointOptions{.every_n_train_steps = 1})},
                               lightning::Loggers{});
    trainer.fit(module, boring_loader(10), {}, {.ckpt_path = resume ? "last" : ""});
    return std::pair(weights_of(*module), trainer.global_step());
  };
  const lightning_tests::TemporaryFolder whole_folder;
  const auto [whole, steps] = fit(whole_folder.path(), -1, false);
  CHECK(steps == 5 + 3 + 3 + 2);
  for (int64_t stop = 1; stop < steps; ++stop) {
    INFO("stopped after step " << stop);
    const lightning_tests::TemporaryFolder folder;
    fit(folder.path(), stop, false);
    const auto [resumed, resumed_steps] = fit(folder.path(), -1, true);
    CHECK(resumed_steps == steps);
    CHECK(torch::equal(resumed, whole));
  }
}

TEST_CASE("A run that resumes without its GradientAccumulationScheduler has the configured factor",
          "[callbacks]") {
  /// Sets a factor of its own, which a checkpoint keeps.
  class Sets : public lightning::Callback {
   public:
    void on_train_start(lightning::TrainerContext& trainer, lightning::LightningModule&) override {
      trainer.set_accumulate_grad_batches(3);
    }
  };
  const auto fit = [](const std::filesystem::path& folder, int64_t max_epochs,
                      lightning::Callbacks callbacks, const std::string& ckpt_path) {
    lightning::TrainerOptions options = quiet_options();
    options.enable_checkpointing = true;
    options.default_root_dir = folder;
    options.max_epochs = max_epochs;
    const lightning_tests::CapturedStderr output;
    lightning::Trainer trainer(options, std::move(callbacks), lightning::Loggers{});
    trainer.fit(std::make_shared<BoringModule>(), boring_loader(12), {}, {.ckpt_path = ckpt_path});
    return std::pair(trainer.accumulate_grad_batches(), output.text());
  };
  const bool scheduled = GENERATE(true, false);
  CAPTURE(scheduled);
  const lightning_tests::TemporaryFolder folder;
  lightning::Callbacks callbacks = {std::make_shared<Sets>()};
  if (scheduled) callbacks = {scheduler({{0, 3}})};
  CHECK(fit(folder.path(), 1, std::move(callbacks), "").first == 3);
  const auto [factor, output] = fit(folder.path(), 2, {}, "last");
  CHECK(factor == (scheduled ? 1 : 3));
  const auto says_so = Catch::Contains("from here on the configured 1 holds");
  if (scheduled) {
    CHECK_THAT(output, says_so);
  } else {
    CHECK_THAT(output, !says_so);
  }
}

TEST_CASE("GradientAccumulationScheduler is counted in the planned steps of a fit", "[callbacks]") {
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 4;
  const auto module = std::make_shared<Plans>();
  lightning::Trainer trainer(options, {scheduler({{1, 2}, {3, 3}})}, lightning::Loggers{});
  trainer.fit(module, boring_loader(10));
  CHECK(module->planned == 5 + 3 + 3 + 2);
  CHECK(trainer.global_step() == module->planned);
}

TEST_CASE("A schedule of accumulation factors counts steps over epochs", "[callbacks]") {
  const AccumulationSchedule schedule = {{2, 4}, {5, 1}};
  CHECK(schedule.at(0) == 1);
  CHECK(schedule.at(2) == 4);
  CHECK(schedule.at(4) == 4);
  CHECK(schedule.at(1000) == 1);
  CHECK(schedule.steps_in(0, 10) == 0);
  CHECK(schedule.steps_in(7, 10) == 20 + 3 * 3 + 20);
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  CHECK(schedule.steps_in(kLargest, 10) == kLargest);
}

TEST_CASE("GradientAccumulationScheduler refuses what Lightning refuses", "[callbacks]") {
  CHECK_THROWS_WITH(scheduler({}), Catch::Contains("scheduling is empty"));
  CHECK_THROWS_WITH(scheduler({{-1, 2}}), Catch::Contains("epoch -1"));
  CHECK_THROWS_WITH(scheduler({{0, 1}, {3, 0}}), Catch::Contains("the factor of epoch 3 is 0"));
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  SECTION("a factor in the Trainer's options, too") {
    options.accumulate_grad_batches = 2;
    lightning::Trainer trainer(options, {scheduler({{0, 2}})}, lightning::Loggers{});
    CHECK_THROWS_WITH(trainer.fit(std::make_shared<BoringModule>(), boring_loader()),
                      Catch::Contains("accumulate_grad_batches of the Trainer is 2"));
  }
  SECTION("manual optimization") {
    const auto module = std::make_shared<BoringModule>();
    module->set_automatic_optimization(false);
    lightning::Trainer trainer(options, {scheduler({{0, 2}})}, lightning::Loggers{});
    CHECK_THROWS_WITH(trainer.fit(module, boring_loader()), Catch::Contains("manually"));
  }
}

TEST_CASE("GradientAccumulationScheduler is made from YAML", "[callbacks]") {
  const auto make = [](const char* text) {
    return std::dynamic_pointer_cast<GradientAccumulationScheduler>(
        lightning::callback_registry().create(lightning::config::parse_yaml(text, "config")));
  };
  const auto made =
      make("{class_path: GradientAccumulationScheduler, init_args: {scheduling: {0: 1, 4: 2}}}");
  REQUIRE(made != nullptr);
  CHECK(made->scheduling().factors() == std::map<int64_t, int64_t>{{0, 1}, {4, 2}});
  CHECK(made->scheduling().to_node().entries().size() == 2);
  CHECK_THROWS_AS(
      make("{class_path: GradientAccumulationScheduler, init_args: {scheduling: {a: 1}}}"),
      lightning::ConfigError);
  CHECK_THROWS_AS(
      make("{class_path: GradientAccumulationScheduler, init_args: {scheduling: {0: 0}}}"),
      lightning::ConfigError);
  CHECK_THROWS_WITH(make("{class_path: GradientAccumulationScheduler, init_args: {scheduling: 3}}"),
                    Catch::Contains("factors by epoch"));
}
