// WeightAveraging and EMAWeightAveraging give the weights that Lightning's give, where Lightning
// gives them, and a run with them resumes bitwise from every safe point.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <functional>

#include <lightning/callbacks/model_pruning.h>
#include <lightning/callbacks/registry.h>
#include <lightning/callbacks/stochastic_weight_averaging.h>
#include <lightning/callbacks/weight_averaging.h>
#include <lightning/config/yaml.h>
#include <lightning/precision/detail/modes.h>
#include <lightning/util/error.h>
#include <lightning/util/interrupted.h>

#include "averaging_support.h"
#include "support/captured_stderr.h"

namespace {

using lightning::Checkpoint;
using lightning::EMAWeightAveraging;
using lightning::EMAWeightAveragingOptions;
using lightning::StateDict;
using lightning::WeightAveraging;
using lightning_tests::check_golden;
using lightning_tests::check_resume_everywhere;
using lightning_tests::fit_net;
using lightning_tests::Net;
using lightning_tests::net_loader;
using lightning_tests::net_trainer_options;

std::shared_ptr<EMAWeightAveraging> ema(const EMAWeightAveragingOptions& options = {.decay = 0.9}) {
  return std::make_shared<EMAWeightAveraging>(options);
}

/// Notes the weights after each step.
class NotesSteps : public lightning::Callback {
 public:
  void on_train_batch_end(lightning::TrainerContext&, lightning::LightningModule& module,
                          const lightning::StepOutput&, const lightning::Batch&, int64_t) override {
    steps.push_back(dynamic_cast<Net&>(module).weights().clone());
  }
  std::vector<at::Tensor> steps;
};

}  // namespace

TEST_CASE("EMAWeightAveraging gives Lightning's weights", "[callbacks]") {
  check_golden("ema", ema());
  // Before the first update Lightning validates with the weights of the start.
  check_golden("ema_late",
               ema({.decay = 0.8,
                    .update_every_n_steps = 3,
                    .update_starting_at_step = 8,
                    .update_starting_at_epoch = 15}),
               {}, /*first_validation=*/1);
}

TEST_CASE("Averages of buffers are Lightning's", "[callbacks]") {
  check_golden("ema_batch_norm", ema(), {.batch_norm = true});
  check_golden("ema_own_buffers", ema({.decay = 0.9, .use_buffers = false}), {.batch_norm = true});
}

TEST_CASE("WeightAveraging gives Lightning's mean of the weights", "[callbacks]") {
  check_golden("mean", std::make_shared<WeightAveraging>());
}

TEST_CASE("The average is in the module where Lightning has it", "[callbacks]") {
  const auto calls = lightning_tests::noted_hooks(ema({.decay = 0.5}));
  const auto expected = lightning_tests::golden_hooks("averaging_hooks_ema.txt");
  for (size_t i = 0; i < std::min(calls.size(), expected.size()); ++i) {
    INFO("hook number " << i + 1);
    REQUIRE(calls[i] == expected[i]);
  }
  CHECK(calls.size() == expected.size());
}

TEST_CASE("A subclass decides when the average is updated", "[callbacks]") {
  struct Even : WeightAveraging {
    bool should_update(std::optional<int64_t> step, std::optional<int64_t> epoch) const override {
      return (step && *step % 2 == 1) || (epoch && *epoch == 1);
    }
  };
  const auto average = std::make_shared<Even>();
  const auto notes = std::make_shared<NotesSteps>();
  const auto net = fit_net({}, net_trainer_options(2), {average, notes});
  const auto& steps = notes->steps;
  REQUIRE(steps.size() == 10);
  const at::Tensor sum = steps[1] + steps[3] + steps[5] + steps[7] + 2 * steps[9];
  CHECK(average->updates() == 6);
  CHECK(torch::allclose(net->weights(), sum / 6, 1e-12, 1e-14));
}

TEST_CASE("A run with averages resumes bitwise from every safe point", "[callbacks]") {
  lightning::TrainerOptions options = net_trainer_options(2);
  options.val_check_interval = 2;
  const size_t points =
      check_resume_everywhere({.batch_norm = true}, options, [] { return ema(); });
  CHECK(points >= 14);
  check_resume_everywhere({}, options, [] { return std::make_shared<WeightAveraging>(); });
  options.accumulate_grad_batches = 2;
  check_resume_everywhere({}, options, [] {
    return ema({.decay = 0.7, .update_every_n_steps = 2, .update_starting_at_epoch = 0});
  });
}

TEST_CASE("An epoch that was cut short is resumed without the average of its end", "[callbacks]") {
  const auto make = [] {
    return ema({.decay = 0.5, .update_every_n_steps = 0, .update_starting_at_epoch = 0});
  };
  const auto whole = fit_net({}, net_trainer_options(3), {make()});
  for (const int64_t steps : {3, 7}) {
    const lightning_tests::TemporaryFolder folder;
    lightning::TrainerOptions options = net_trainer_options(3);
    options.default_root_dir = folder.path();
    options.enable_checkpointing = true;
    options.max_steps = steps;
    lightning::Trainer(options, {make()}, lightning::Loggers{})
        .fit(std::make_shared<Net>(), net_loader(), net_loader());
    options.max_steps = -1;
    const auto resumed = std::make_shared<Net>();
    lightning::Trainer(options, {make()}, lightning::Loggers{})
        .fit(resumed, net_loader(), net_loader(), {.ckpt_path = "last"});
    CHECK(torch::equal(resumed->weights(), whole->weights()));
    CHECK(resumed->val_losses.back() == whole->val_losses.back());
  }
}

TEST_CASE("A checkpoint's weights are the average, the trained ones lie beside", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  struct Saves : lightning::Callback {
    explicit Saves(std::filesystem::path path) : folder(std::move(path)) {}
    void on_train_batch_end(lightning::TrainerContext& trainer, lightning::LightningModule& module,
                            const lightning::StepOutput&, const lightning::Batch&,
                            int64_t) override {
      if (trainer.global_step() != 3) return;
      trained = dynamic_cast<Net&>(module).first->weight.detach().clone();
      trainer.save_checkpoint(folder / "full.ckpt");
      trainer.save_checkpoint(folder / "weights.ckpt", /*weights_only=*/true);
    }
    std::filesystem::path folder;
    at::Tensor trained;
  };
  const auto saves = std::make_shared<Saves>(folder.path());
  const auto notes = std::make_shared<NotesSteps>();
  fit_net({}, net_trainer_options(1), {ema({.decay = 0.5}), notes, saves});
  const auto weight = [](const Checkpoint::NamedTensors& tensors) {
    return std::find_if(tensors.begin(), tensors.end(),
                        [](const auto& one) { return one.first == "first.weight"; })
        ->second;
  };
  std::vector<at::Tensor> first;
  for (const at::Tensor& step : notes->steps) first.push_back(step.slice(0, 0, 12).view({4, 3}));
  const at::Tensor average = 0.25 * first[0] + 0.25 * first[1] + 0.5 * first[2];
  const Checkpoint full = Checkpoint::read(folder.path() / "full.ckpt");
  CHECK(torch::allclose(weight(full.model), average, 1e-12, 1e-14));
  CHECK(torch::equal(
      full.state.get<at::Tensor>("callbacks/EMAWeightAveraging/weights_beside/first.weight"),
      saves->trained));
  const Checkpoint only = Checkpoint::read(folder.path() / "weights.ckpt");
  CHECK(torch::equal(weight(only.model), weight(full.model)));
}

TEST_CASE("Checkpoints after training still have the trained weights beside", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = net_trainer_options(1);
  options.default_root_dir = folder.path();
  const auto net = std::make_shared<Net>();
  {
    lightning::Trainer trainer(options, {ema()}, lightning::Loggers{});
    trainer.fit(net, net_loader(), net_loader());
    trainer.save_checkpoint(folder.path() / "after.ckpt");
  }
  const auto whole = fit_net({}, net_trainer_options(2), {ema()});
  options.max_epochs = 2;
  const auto resumed = std::make_shared<Net>();
  lightning::Trainer(options, {ema()}, lightning::Loggers{})
      .fit(resumed, net_loader(), net_loader(),
           {.ckpt_path = (folder.path() / "after.ckpt").string()});
  CHECK(torch::equal(resumed->weights(), whole->weights()));
  // Those of the first fit are the average, in the tensors that were trained.
  CHECK_FALSE(torch::equal(net->weights(), whole->weights()));
}

TEST_CASE("Parameters stay the same tensors, and a second fit begins a new average",
          "[callbacks]") {
  const auto average = ema({.decay = 0.5});
  const auto net = std::make_shared<Net>();
  std::vector<void*> memory;
  for (const at::Tensor& parameter : net->parameters()) memory.push_back(parameter.data_ptr());
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = net_trainer_options(1);
  options.default_root_dir = folder.path();
  const auto notes = std::make_shared<NotesSteps>();
  lightning::Trainer trainer(options, {average, notes}, lightning::Loggers{});
  for (int i = 0; i < 2; ++i) {
    notes->steps.clear();
    trainer.fit(net, net_loader(), net_loader());
    CHECK(average->updates() == 5);
    at::Tensor expected = notes->steps[0];
    for (const at::Tensor& step : notes->steps) expected = 0.5 * expected + 0.5 * step;
    CHECK(torch::allclose(net->weights(), expected, 1e-12, 1e-14));
    std::vector<void*> now;
    for (const at::Tensor& parameter : net->parameters()) now.push_back(parameter.data_ptr());
    CHECK(now == memory);
    // The weights are the module's; nothing is exchanged any more.
    const at::Tensor before = net->weights().clone();
    trainer.validate(net, net_loader());
    CHECK(torch::equal(net->weights(), before));
  }
}

TEST_CASE("Tied weights stay tied in module, average and checkpoint", "[callbacks]") {
  class Tied : public Net {
   public:
    Tied() { register_parameter("again", first->weight); }
    lightning::OptimizerList configure_optimizers() override {
      return std::make_shared<lightning::optim::SGD>(
          std::vector<at::Tensor>{first->weight, first->bias, last->weight, last->bias},
          torch::optim::SGDOptions(0.05));
    }
  };
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = net_trainer_options(1);
  options.default_root_dir = folder.path();
  const auto notes = std::make_shared<NotesSteps>();
  const auto net = std::make_shared<Tied>();
  lightning::Trainer trainer(options, {ema({.decay = 0.5}), notes}, lightning::Loggers{});
  trainer.fit(net, net_loader(), net_loader());
  CHECK(net->named_parameters()["again"].is_same(net->first->weight));
  at::Tensor expected = notes->steps[0];
  for (const at::Tensor& step : notes->steps) expected = 0.5 * expected + 0.5 * step;
  CHECK(torch::allclose(net->weights(), expected, 1e-12, 1e-14));
  trainer.save_checkpoint(folder.path() / "tied.ckpt");
  options.max_epochs = 2;
  const auto resumed = std::make_shared<Tied>();
  lightning::Trainer(options, {ema({.decay = 0.5})}, lightning::Loggers{})
      .fit(resumed, net_loader(), net_loader(),
           {.ckpt_path = (folder.path() / "tied.ckpt").string()});
  CHECK(resumed->named_parameters()["again"].is_same(resumed->first->weight));
}

TEST_CASE("A signal in a validation leaves the trained weights beside the average", "[callbacks]") {
  class Stopped : public Net {
   public:
    explicit Stopped(bool stops) : stops_(stops) {}
    void validation_step(const lightning::Batch& batch, int64_t index) override {
      Net::validation_step(batch, index);
      if (stops_ && global_step() == 4) std::raise(SIGTERM);
    }

   private:
    bool stops_;
  };
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = net_trainer_options(2);
  options.default_root_dir = folder.path();
  options.enable_checkpointing = true;
  options.val_check_interval = 2;
  options.limit_val_batches = 2;
  const auto whole = fit_net({}, options, {ema()});
  const lightning_tests::HarmlessTermination of_the_test_program;
  const auto stopped = std::make_shared<Stopped>(true);
  CHECK_THROWS_AS(lightning::Trainer(options, {ema()}, lightning::Loggers{})
                      .fit(stopped, net_loader(), net_loader()),
                  lightning::Interrupted);
  const auto resumed = std::make_shared<Stopped>(false);
  lightning::Trainer(options, {ema()}, lightning::Loggers{})
      .fit(resumed, net_loader(), net_loader(), {.ckpt_path = "last"});
  CHECK(torch::equal(resumed->weights(), whole->weights()));
}

TEST_CASE("An exception in a validation gives the trained weights back", "[callbacks]") {
  class Throws : public Net {
    void validation_step(const lightning::Batch&, int64_t) override {
      throw std::runtime_error("mine");
    }
  };
  const auto notes = std::make_shared<NotesSteps>();
  const auto net = std::make_shared<Throws>();
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = net_trainer_options(1);
  options.default_root_dir = folder.path();
  CHECK_THROWS_WITH(lightning::Trainer(options, {ema(), notes}, lightning::Loggers{})
                        .fit(net, net_loader(), net_loader()),
                    "mine");
  CHECK(torch::equal(net->weights(), notes->steps.back()));
}

TEST_CASE("Steps that loss scaling skipped are not averaged", "[callbacks]") {
  // The first and the fourth of six steps overflow.
  class Overflows : public BoringModule {
    lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
      const int64_t batch_of_fit = 3 * current_epoch() + index;
      const at::Tensor loss = BoringModule::training_step(batch, index).loss.to(torch::kFloat32);
      return loss * (batch_of_fit % 3 == 0 ? 1e37 : 1.0);
    }
  };
  struct Notes : lightning::Callback {
    void on_train_batch_end(lightning::TrainerContext&, lightning::LightningModule& module,
                            const lightning::StepOutput&, const lightning::Batch&,
                            int64_t) override {
      weights.push_back(dynamic_cast<BoringModule&>(module).layer->weight.detach().clone());
    }
    std::vector<at::Tensor> weights;
  };
  const auto average_of = [](const std::shared_ptr<WeightAveraging>& average, Notes& all) {
    const auto notes = std::make_shared<Notes>();
    lightning::TrainerParts parts;
    parts.callbacks = {average, notes};
    parts.loggers = lightning::Loggers{};
    parts.precision = [](at::Device device) {
      return std::make_shared<lightning::Float16MixedPrecision>(
          device, lightning::Float16MixedOptions{.loss_scaler = {.init_scale = 256.0},
                                                 .force_float16 = true});
    };
    const lightning_tests::TemporaryFolder folder;
    lightning::TrainerOptions options = quiet_options();
    options.default_root_dir = folder.path();
    options.max_epochs = 2;
    torch::manual_seed(3);
    const auto module = std::make_shared<Overflows>();
    lightning::Trainer(options, std::move(parts)).fit(module, boring_loader());
    all = *notes;
    return module->layer->weight.detach().clone();
  };
  Notes notes;
  const at::Tensor mean = average_of(std::make_shared<WeightAveraging>(), notes);
  REQUIRE(notes.weights.size() == 6);
  REQUIRE(torch::equal(notes.weights[2], notes.weights[3]));
  REQUIRE_FALSE(torch::equal(notes.weights[0], notes.weights[1]));
  const auto& w = notes.weights;
  CHECK(torch::allclose(mean, (w[1] + w[2] + w[4] + w[5]) / 4, 1e-6, 1e-7));
  const at::Tensor moving = average_of(ema({.decay = 0.5}), notes);
  const auto& v = notes.weights;
  CHECK(torch::allclose(moving, v[1] / 8 + v[2] / 8 + v[4] / 4 + v[5] / 2, 1e-6, 1e-7));
}

TEST_CASE("Averaging that can't be is refused before the first step", "[callbacks]") {
  class Untrained : public Net {
    lightning::StepOutput training_step(const lightning::Batch&, int64_t) override {
      throw std::runtime_error("trained");
    }
  };
  const auto fit = [](lightning::TrainerOptions options, const lightning::Callbacks& callbacks) {
    const lightning_tests::TemporaryFolder folder;
    options.default_root_dir = folder.path();
    lightning::Trainer(options, callbacks, lightning::Loggers{})
        .fit(std::make_shared<Untrained>(), net_loader(), net_loader());
  };
  CHECK_THROWS_WITH(fit(net_trainer_options(2), {ema({.update_starting_at_step = 10})}),
                    Catch::Contains("update_starting_at_step is 10") &&
                        Catch::Contains("after 10 steps") && Catch::Contains("HINT"));
  CHECK_THROWS_WITH(
      fit(net_trainer_options(2), {ema({.update_starting_at_epoch = 2})}),
      Catch::Contains("update_starting_at_epoch is 2") && Catch::Contains("has 2 epochs"));
  lightning::TrainerOptions by_steps = net_trainer_options(-1);
  by_steps.max_steps = 7;
  CHECK_THROWS_WITH(fit(by_steps, {ema({.update_starting_at_step = 7})}),
                    Catch::Contains("after 7 steps"));
  // The second epoch, which max_steps cuts short, is one.
  CHECK_THROWS_WITH(fit(by_steps, {ema({.update_starting_at_epoch = 1})}), "trained");
  const auto pruning = std::make_shared<lightning::ModelPruning>();
  CHECK_THROWS_WITH(
      fit(net_trainer_options(2), {pruning, ema()}),
      Catch::Contains("EMAWeightAveraging and ModelPruning") && Catch::Contains("HINT"));
  CHECK_THROWS_WITH(fit(net_trainer_options(2),
                        {std::make_shared<lightning::StochasticWeightAveraging>(
                             lightning::StochasticWeightAveragingOptions{.swa_lrs = {0.01}}),
                         pruning}),
                    Catch::Contains("StochasticWeightAveraging and ModelPruning"));
  CHECK_THROWS_WITH(
      fit(net_trainer_options(2), {ema(), std::make_shared<WeightAveraging>()}),
      Catch::Contains("EMAWeightAveraging") && Catch::Contains("both average the weights"));
  CHECK_THROWS_WITH(
      fit(net_trainer_options(2),
          {std::make_shared<lightning::StochasticWeightAveraging>(
               lightning::StochasticWeightAveragingOptions{.swa_lrs = {0.01}}),
           ema()}),
      Catch::Contains("StochasticWeightAveraging") && Catch::Contains("EMAWeightAveraging"));
  // A trial says nothing of longer plans.
  lightning::TrainerOptions trial = net_trainer_options(2);
  trial.fast_dev_run = true;
  CHECK_THROWS_WITH(fit(trial, {ema({.update_starting_at_step = 10})}), "trained");

  using lightning::ConfigError;
  CHECK_THROWS_AS(ema({.decay = 1.5}), ConfigError);
  CHECK_THROWS_AS(ema({.decay = -0.1}), ConfigError);
  CHECK_THROWS_AS(ema({.decay = std::nan("")}), ConfigError);
  CHECK_THROWS_AS(ema({.update_every_n_steps = -1}), ConfigError);
  CHECK_THROWS_AS(ema({.update_every_n_steps = 0}), ConfigError);
  CHECK_THROWS_AS(ema({.update_starting_at_step = -1}), ConfigError);
  CHECK_THROWS_AS(ema({.update_starting_at_epoch = -1}), ConfigError);
}

TEST_CASE("States of averages that make no sense are refused", "[callbacks]") {
  const auto load = [](const std::function<void(StateDict&)>& damage) {
    EMAWeightAveraging average;
    StateDict state;
    state.set("updates", 2);
    state.set("latest_update_step", 2);
    state.set("latest_update_epoch", -1);
    damage(state);
    average.load_state_dict(state);
  };
  CHECK_NOTHROW(load([](StateDict&) {}));
  using lightning::CheckpointError;
  CHECK_THROWS_AS(load([](StateDict& state) { state.set("updates", -1); }), CheckpointError);
  CHECK_THROWS_AS(load([](StateDict& state) { state.set("updates", 1.0); }), CheckpointError);
  CHECK_THROWS_AS(load([](StateDict& state) { state.set("latest_update_step", -1); }),
                  CheckpointError);
  CHECK_THROWS_AS(load([](StateDict& state) { state.set("latest_update_epoch", -2); }),
                  CheckpointError);
  CHECK_THROWS_AS(load([](StateDict& state) { state.set("counted", torch::ones({2})); }),
                  CheckpointError);
  CHECK_THROWS_AS(
      load([](StateDict& state) { state.set("counted", torch::full({}, 3, torch::kLong)); }),
      CheckpointError);
}

TEST_CASE("Checkpoints with damaged averages are refused", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = net_trainer_options(1);
  options.default_root_dir = folder.path();
  lightning::Trainer trainer(options, {ema()}, lightning::Loggers{});
  trainer.fit(std::make_shared<Net>(), net_loader(), net_loader());
  trainer.save_checkpoint(folder.path() / "whole.ckpt");
  options.max_epochs = 2;
  const std::string prefix = "callbacks/EMAWeightAveraging/";
  int count = 0;
  const auto resume = [&](const std::function<void(StateDict&)>& damage) {
    Checkpoint checkpoint = Checkpoint::read(folder.path() / "whole.ckpt");
    damage(checkpoint.state);
    const auto path = folder.path() / ("damaged" + std::to_string(count++) + ".ckpt");
    checkpoint.write(path);
    lightning::Trainer(options, {ema()}, lightning::Loggers{})
        .fit(std::make_shared<Net>(), net_loader(), net_loader(), {.ckpt_path = path.string()});
  };
  CHECK_NOTHROW(resume([](StateDict&) {}));
  const auto without = [&](StateDict& state, const std::string& begin) {
    StateDict kept;
    for (const auto& [name, value] : state.entries()) {
      if (!name.starts_with(prefix + begin)) kept.set(name, value);
    }
    state = kept;
  };
  using lightning::CheckpointError;
  CHECK_THROWS_AS(resume([&](StateDict& state) { without(state, "weights_beside/first.w"); }),
                  CheckpointError);
  CHECK_THROWS_AS(resume([&](StateDict& state) { without(state, "weights_beside"); }),
                  CheckpointError);
  CHECK_THROWS_AS(resume([&](StateDict& state) { without(state, "module_has_average"); }),
                  CheckpointError);
  CHECK_THROWS_AS(
      resume([&](StateDict& state) { state.set(prefix + "module_has_average", false); }),
      CheckpointError);
  CHECK_THROWS_AS(resume([&](StateDict& state) {
                    state.set(prefix + "weights_beside/first.weight", torch::ones({3}));
                  }),
                  CheckpointError);
}

TEST_CASE("Averaging callbacks have names in YAML", "[callbacks]") {
  const auto make = [](const std::string& text) {
    return lightning::callback_registry().create(lightning::config::parse_yaml(text, "test"));
  };
  const auto moving =
      make("{class_path: EMAWeightAveraging, init_args: {decay: 0.9, update_every_n_steps: 2}}");
  const auto* average = dynamic_cast<EMAWeightAveraging*>(moving.get());
  REQUIRE(average != nullptr);
  CHECK(average->should_update(4, std::nullopt));
  CHECK_FALSE(average->should_update(5, std::nullopt));
  const auto mean = make("{class_path: WeightAveraging, init_args: {use_buffers: false}}");
  CHECK(dynamic_cast<WeightAveraging*>(mean.get()) != nullptr);
  const auto last_epochs = make(
      "{class_path: StochasticWeightAveraging, init_args: {swa_lrs: [0.05], swa_epoch_start: 3, "
      "annealing_strategy: linear}}");
  CHECK(dynamic_cast<lightning::StochasticWeightAveraging*>(last_epochs.get()) != nullptr);
  CHECK_THROWS_AS(make("{class_path: EMAWeightAveraging, init_args: {decay: 2}}"),
                  lightning::ConfigError);
}
