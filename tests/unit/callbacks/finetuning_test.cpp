// Parts of a module that join the training later, compared with Lightning 2.6.6
// (tests/golden/callbacks/record_training_callbacks.py).
#include <fstream>
#include <functional>
#include <limits>
#include <sstream>

#include <catch2/catch.hpp>

#include <lightning/callbacks/finetuning.h>
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

using lightning::BackboneFinetuning;
using lightning::BackboneFinetuningOptions;
using lightning_tests::cosine_loader;
using lightning_tests::weights_of;

/// The learning rates of the epoch's last step, then the weights.
struct EpochEnd {
  std::vector<double> rates;
  at::Tensor weights;
};

class Finetunes : public lightning::LightningModule {
 public:
  explicit Finetunes(bool scheduled = false) : scheduled_(scheduled) {
    backbone = register_module("backbone", torch::nn::Linear(2, 2));
    head = register_module("head", torch::nn::Linear(2, 1));
    to(at::kDouble);
    lightning_tests::fill_with_sines(*this);
  }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    return head->forward(backbone->forward(batch["x"])).square().mean();
  }
  void on_before_optimizer_step(torch::optim::Optimizer& optimizer) override {
    rates_.clear();
    for (const auto& group : optimizer.param_groups()) {
      rates_.push_back(group.options().get_lr());
    }
  }
  void on_train_epoch_end() override { epochs.push_back({rates_, weights_of(*this)}); }
  lightning::OptimizerList configure_optimizers() override {
    const auto optimizer = std::make_shared<lightning::optim::SGD>(
        head->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
    if (!scheduled_) return optimizer;
    return lightning::OptimizerConfig{
        .optimizer = optimizer,
        .lr_scheduler = {
            {.scheduler = std::make_shared<lightning::optim::StepLR>(optimizer, 2, 0.9),
             .interval = lightning::Interval::kStep}}};
  }

  torch::nn::Linear backbone{nullptr};
  torch::nn::Linear head{nullptr};
  std::vector<EpochEnd> epochs;

 private:
  bool scheduled_;
  std::vector<double> rates_;
};

std::vector<EpochEnd> golden_case(int64_t number) {
  std::ifstream file("tests/golden/callbacks/backbone_finetuning.txt");
  REQUIRE(file);
  std::vector<EpochEnd> epochs;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("case")) {
      inside = line == "case " + std::to_string(number);
      continue;
    }
    if (!inside) continue;
    const size_t bar = line.find('|');
    const auto numbers = [](const std::string& text) {
      std::istringstream words(text);
      std::vector<double> values;
      for (double value = 0.0; words >> value;) values.push_back(value);
      return values;
    };
    epochs.push_back(
        {numbers(line.substr(0, bar)), at::tensor(numbers(line.substr(bar + 1)), at::kDouble)});
  }
  REQUIRE(epochs.size() == 7);
  return epochs;
}

lightning::TrainerOptions double_options() {
  lightning::TrainerOptions options = quiet_options();
  options.precision = "64-true";
  options.max_epochs = 7;
  return options;
}

void check_against_golden(int64_t number, std::shared_ptr<BackboneFinetuning> finetuning,
                          bool scheduled = false) {
  const std::vector<EpochEnd> golden = golden_case(number);
  const auto module = std::make_shared<Finetunes>(scheduled);
  lightning::Trainer trainer(double_options(), {std::move(finetuning)}, lightning::Loggers{});
  trainer.fit(module, cosine_loader(6));
  REQUIRE(module->epochs.size() == golden.size());
  for (size_t epoch = 0; epoch < golden.size(); ++epoch) {
    INFO("epoch " << epoch);
    const EpochEnd& ours = module->epochs[epoch];
    REQUIRE(ours.rates.size() == golden[epoch].rates.size());
    for (size_t group = 0; group < ours.rates.size(); ++group) {
      CHECK(ours.rates[group] == Approx(golden[epoch].rates[group]).epsilon(1e-12));
    }
    CHECK(at::allclose(ours.weights, golden[epoch].weights, 1e-10, 1e-10));
  }
}

/// Freezes the backbone, its BatchNorm as well, and trains it from the second epoch on.
class Unfreezes : public lightning::BaseFinetuning {
 public:
  explicit Unfreezes(bool train_bn = true) : train_bn_(train_bn) {}
  void freeze_before_training(lightning::LightningModule& module) override {
    freeze(*module.named_children()["backbone"], /*train_bn=*/false);
  }
  void finetune_function(lightning::LightningModule& module, int64_t epoch,
                         torch::optim::Optimizer& optimizer) override {
    if (epoch != 1) return;
    added = unfreeze_and_add_param_group(*module.named_children()["backbone"], optimizer,
                                         {.initial_denom_lr = 4.0, .train_bn = train_bn_});
  }
  bool added = false;

 private:
  bool train_bn_;
};

class WithBatchNorm : public lightning::LightningModule {
 public:
  explicit WithBatchNorm(bool optimizes_all = false) : optimizes_all_(optimizes_all) {
    backbone = register_module(
        "backbone", torch::nn::Sequential(torch::nn::Linear(2, 2), torch::nn::BatchNorm1d(2)));
    head = register_module("head", torch::nn::Linear(2, 1));
  }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    return head->forward(backbone->forward(batch["x"])).square().mean();
  }
  void on_train_epoch_end() override { running_means.push_back(norm().running_mean.clone()); }
  lightning::OptimizerList configure_optimizers() override {
    return std::make_shared<lightning::optim::AdamW>(
        optimizes_all_ ? parameters() : head->parameters(), torch::optim::AdamWOptions(0.1));
  }
  torch::nn::BatchNorm1dImpl& norm() {
    return dynamic_cast<torch::nn::BatchNorm1dImpl&>(*backbone->ptr(1));
  }

  torch::nn::Sequential backbone{nullptr};
  torch::nn::Linear head{nullptr};
  std::vector<at::Tensor> running_means;

 private:
  bool optimizes_all_;
};

struct Outcome {
  at::Tensor weights;
  int64_t steps = 0;
};

/// Trains with a checkpoint after each step, or resumes from the last one.
Outcome fit(const std::shared_ptr<lightning::LightningModule>& module,
            lightning::Callbacks callbacks, const lightning::DataLoaders& data,
            lightning::TrainerOptions options, const std::filesystem::path& folder,
            int64_t max_steps, bool resume) {
  options.enable_checkpointing = true;
  options.default_root_dir = folder;
  options.max_steps = max_steps;
  callbacks.push_back(std::make_shared<lightning::ModelCheckpoint>(
      lightning::ModelCheckpointOptions{.every_n_train_steps = 1}));
  lightning::Trainer trainer(options, std::move(callbacks), lightning::Loggers{});
  trainer.fit(module, data, {}, {.ckpt_path = resume ? "last" : ""});
  return {weights_of(*module), trainer.global_step()};
}

/// One that stops after any step and is resumed ends with the bits of one that doesn't stop.
void check_resume(const std::function<Outcome(const std::filesystem::path&, int64_t, bool)>& run,
                  int64_t steps) {
  const lightning_tests::TemporaryFolder whole_folder;
  const Outcome whole = run(whole_folder.path(), -1, false);
  CHECK(whole.steps == steps);
  for (int64_t stop = 1; stop < steps; ++stop) {
    INFO("stopped after step " << stop);
    const lightning_tests::TemporaryFolder folder;
    run(folder.path(), stop, false);
    const Outcome resumed = run(folder.path(), -1, true);
    CHECK(resumed.steps == steps);
    CHECK(torch::equal(resumed.weights, whole.weights));
  }
}

}  // namespace

TEST_CASE("BackboneFinetuning trains as Lightning's does", "[callbacks]") {
  SECTION("doubling its rate up to the head's") {
    check_against_golden(0, std::make_shared<BackboneFinetuning>(
                                BackboneFinetuningOptions{.unfreeze_backbone_at_epoch = 2}));
  }
  SECTION("by a function of the epoch") {
    check_against_golden(1, std::make_shared<BackboneFinetuning>(
                                BackboneFinetuningOptions{.unfreeze_backbone_at_epoch = 1,
                                                          .backbone_initial_ratio_lr = 0.5},
                                [](int64_t) { return 1.5; }));
  }
  SECTION("beyond the head's rate") {
    check_against_golden(
        2,
        std::make_shared<BackboneFinetuning>(BackboneFinetuningOptions{
            .unfreeze_backbone_at_epoch = 1, .backbone_initial_lr = 0.03, .should_align = false}));
  }
  SECTION("under a schedule per step") {
    check_against_golden(3,
                         std::make_shared<BackboneFinetuning>(
                             BackboneFinetuningOptions{.unfreeze_backbone_at_epoch = 2}),
                         /*scheduled=*/true);
  }
}

TEST_CASE("BackboneFinetuning resumes bitwise after every step", "[callbacks]") {
  lightning::TrainerOptions options = double_options();
  options.max_epochs = 4;
  check_resume(
      [&](const std::filesystem::path& folder, int64_t max_steps, bool resume) {
        return fit(std::make_shared<Finetunes>(/*scheduled=*/true),
                   {std::make_shared<BackboneFinetuning>(
                       BackboneFinetuningOptions{.unfreeze_backbone_at_epoch = 1})},
                   cosine_loader(6), options, folder, max_steps, resume);
      },
      12);
}

TEST_CASE("Several BackboneFinetunings resume in the order in which they unfroze", "[callbacks]") {
  class TwoBackbones : public Finetunes {
   public:
    TwoBackbones() {
      lower = register_module("lower", torch::nn::Linear(2, 2));
      to(at::kDouble);
      lightning_tests::fill_with_sines(*this);
    }
    lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
      return head->forward(backbone->forward(lower->forward(batch["x"]))).square().mean();
    }
    torch::nn::Linear lower{nullptr};
  };
  const auto unfreezes = [](const char* backbone, int64_t epoch) {
    return std::make_shared<BackboneFinetuning>(
        BackboneFinetuningOptions{.backbone = backbone, .unfreeze_backbone_at_epoch = epoch});
  };
  // In both orders.
  const int64_t upper_epoch = GENERATE(1, 2);
  lightning::TrainerOptions options = double_options();
  options.max_epochs = 4;
  check_resume(
      [&](const std::filesystem::path& folder, int64_t max_steps, bool resume) {
        return fit(std::make_shared<TwoBackbones>(),
                   {unfreezes("lower", 3 - upper_epoch), unfreezes("backbone", upper_epoch)},
                   cosine_loader(6), options, folder, max_steps, resume);
      },
      12);
}

TEST_CASE("BackboneFinetuning resumes bitwise from a checkpoint written after the fit",
          "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  const auto train = [&](int64_t epochs, const std::string& from, const std::filesystem::path& to) {
    lightning::TrainerOptions options = double_options();
    options.default_root_dir = folder.path();
    options.max_epochs = epochs;
    lightning::Trainer trainer(options,
                               {std::make_shared<BackboneFinetuning>(
                                   BackboneFinetuningOptions{.unfreeze_backbone_at_epoch = 1})},
                               lightning::Loggers{});
    const auto module = std::make_shared<Finetunes>(/*scheduled=*/true);
    trainer.fit(module, cosine_loader(6), {}, {.ckpt_path = from});
    if (!to.empty()) trainer.save_checkpoint(to);
    return weights_of(*module);
  };
  const at::Tensor whole = train(5, "", "");
  const std::filesystem::path after = folder.path() / "after.ckpt";
  train(3, "", after);
  CHECK(torch::equal(train(5, after.string(), ""), whole));
}

TEST_CASE("BaseFinetuning begins a second fit afresh", "[callbacks]") {
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  const auto callback = std::make_shared<Unfreezes>();
  CHECK(callback->state_dict().empty());
  for (int fit_number = 0; fit_number < 2; ++fit_number) {
    INFO("fit " << fit_number);
    lightning::Trainer trainer(options, {callback}, lightning::Loggers{});
    trainer.fit(std::make_shared<WithBatchNorm>(), boring_loader());
    CHECK(trainer.optimizers().front().optimizer->param_groups().size() == 2);
    CHECK(callback->state_dict().get<int64_t>("num_groups") == 1);
  }
}

TEST_CASE("BaseFinetuning resumes with its groups and what is frozen", "[callbacks]") {
  const bool train_bn = GENERATE(true, false);
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 3;
  check_resume(
      [&](const std::filesystem::path& folder, int64_t max_steps, bool resume) {
        torch::manual_seed(3);
        return fit(std::make_shared<WithBatchNorm>(), {std::make_shared<Unfreezes>(train_bn)},
                   boring_loader(), options, folder, max_steps, resume);
      },
      9);
}

TEST_CASE("BaseFinetuning freezes parameters and running statistics until it unfreezes them",
          "[callbacks]") {
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  const auto module = std::make_shared<WithBatchNorm>();
  const at::Tensor before = weights_of(*module->backbone);
  SECTION("with BatchNorm") {
    options.max_epochs = 1;
    lightning::Trainer(options, {std::make_shared<Unfreezes>()}, lightning::Loggers{})
        .fit(module, boring_loader());
    CHECK(torch::equal(weights_of(*module->backbone), before));
    CHECK(module->running_means[0].abs().max().item<double>() == 0.0);
    CHECK(module->norm().is_training());
    CHECK(module->norm().options.momentum() == 0.1);
  }
  SECTION("then trains both") {
    const auto callback = std::make_shared<Unfreezes>();
    lightning::Trainer trainer(options, {callback}, lightning::Loggers{});
    trainer.fit(module, boring_loader());
    CHECK(callback->added);
    CHECK_FALSE(torch::equal(weights_of(*module->backbone), before));
    CHECK(module->running_means[0].abs().max().item<double>() == 0.0);
    CHECK(module->running_means[1].abs().max().item<double>() > 0.0);
    CHECK(module->norm().options.momentum() == 0.1);
    const auto& groups = trainer.optimizers().front().optimizer->param_groups();
    REQUIRE(groups.size() == 2);
    CHECK(groups[1].params().size() == 4);
    CHECK(groups[1].options().get_lr() == Approx(0.025));
  }
  SECTION("without BatchNorm's parameters") {
    lightning::Trainer trainer(options, {std::make_shared<Unfreezes>(/*train_bn=*/false)},
                               lightning::Loggers{});
    trainer.fit(module, boring_loader());
    CHECK(trainer.optimizers().front().optimizer->param_groups().back().params().size() == 2);
    CHECK_FALSE(module->norm().weight.requires_grad());
  }
  SECTION("but adds no group of parameters that the optimizer has") {
    const auto callback = std::make_shared<Unfreezes>();
    const auto all = std::make_shared<WithBatchNorm>(/*optimizes_all=*/true);
    lightning::Trainer trainer(options, {callback}, lightning::Loggers{});
    trainer.fit(all, boring_loader());
    CHECK_FALSE(callback->added);
    CHECK(trainer.optimizers().front().optimizer->param_groups().size() == 1);
  }
}

TEST_CASE("BackboneFinetuning without train_bn never trains BatchNorm", "[callbacks]") {
  /// Its optimizer has what isn't frozen.
  class OptimizesTrainable : public WithBatchNorm {
   public:
    lightning::OptimizerList configure_optimizers() override {
      std::vector<at::Tensor> trainable;
      for (const at::Tensor& parameter : parameters()) {
        if (parameter.requires_grad()) trainable.push_back(parameter);
      }
      return std::make_shared<lightning::optim::AdamW>(std::move(trainable),
                                                       torch::optim::AdamWOptions(0.1));
    }
  };
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 3;
  const bool train_bn = GENERATE(true, false);
  INFO("train_bn " << train_bn);
  const auto module = std::make_shared<OptimizesTrainable>();
  const at::Tensor weights = weights_of(module->norm());
  lightning::Trainer trainer(options,
                             {std::make_shared<BackboneFinetuning>(BackboneFinetuningOptions{
                                 .unfreeze_backbone_at_epoch = 1, .train_bn = train_bn})},
                             lightning::Loggers{});
  trainer.fit(module, boring_loader());
  CHECK(torch::equal(weights_of(module->norm()), weights) == !train_bn);
  REQUIRE(module->running_means.size() == 3);
  for (const at::Tensor& mean : module->running_means) {
    CHECK((mean.abs().max().item<double>() == 0.0) == !train_bn);
  }
  const at::Tensor variance = module->norm().running_var;
  CHECK(torch::equal(variance, torch::ones_like(variance)) == !train_bn);
  CHECK(module->norm().options.momentum() == 0.1);
  // The Linear layer joined in both cases.
  CHECK(trainer.optimizers().front().optimizer->param_groups().back().params().size() == 2);
}

TEST_CASE("BackboneFinetuning leaves a backbone to the optimizer that has it", "[callbacks]") {
  class TwoOptimizers : public Finetunes {
   public:
    TwoOptimizers() {
      set_automatic_optimization(false);
      scale = register_parameter("scale", torch::ones({1}));
    }
    lightning::OptimizerList configure_optimizers() override {
      // With one that is trained from the start.
      std::vector<at::Tensor> second = backbone->parameters();
      second.push_back(scale);
      return std::vector<lightning::OptimizerConfig>{
          {.optimizer = std::make_shared<lightning::optim::SGD>(head->parameters(),
                                                                torch::optim::SGDOptions(0.1))},
          {.optimizer =
               std::make_shared<lightning::optim::SGD>(second, torch::optim::SGDOptions(0.1))}};
    }
    lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
      optimizer(0).zero_grad();
      optimizer(1).zero_grad();
      const at::Tensor loss =
          (scale * head->forward(backbone->forward(batch["x"]))).square().mean();
      manual_backward(loss);
      optimizer(0).step();
      optimizer(1).step();
      return loss.detach();
    }
    at::Tensor scale;
  };
  lightning::TrainerOptions options = double_options();
  options.max_epochs = 2;
  const auto module = std::make_shared<TwoOptimizers>();
  const at::Tensor before = weights_of(*module->backbone);
  const auto finetuning = std::make_shared<BackboneFinetuning>(
      BackboneFinetuningOptions{.unfreeze_backbone_at_epoch = 0});
  lightning::Trainer trainer(options, {finetuning}, lightning::Loggers{});
  trainer.fit(module, cosine_loader(6));
  for (const auto& config : trainer.optimizers()) {
    CHECK(config.optimizer->param_groups().size() == 1);
  }
  CHECK(finetuning->state_dict().get<int64_t>("num_groups") == 0);
  CHECK_FALSE(torch::equal(weights_of(*module->backbone), before));
}

TEST_CASE("BackboneFinetuning refuses what it can't do", "[callbacks]") {
  CHECK_THROWS_WITH(BackboneFinetuning({.backbone = ""}), Catch::Contains("backbone is empty"));
  CHECK_THROWS_WITH(BackboneFinetuning({.unfreeze_backbone_at_epoch = -1}),
                    Catch::Contains("unfreeze_backbone_at_epoch is -1"));
  CHECK_THROWS_WITH(BackboneFinetuning({.multiplier = 0.0}), Catch::Contains("multiplier is 0"));
  lightning::Trainer trainer(
      double_options(),
      {std::make_shared<BackboneFinetuning>(BackboneFinetuningOptions{.backbone = "encoder"})},
      lightning::Loggers{});
  CHECK_THROWS_WITH(
      trainer.fit(std::make_shared<Finetunes>(), cosine_loader(6)),
      Catch::Contains("backbone is \"encoder\"") && Catch::Contains("backbone, head"));
}

TEST_CASE("BackboneFinetuning refuses states of a broken checkpoint", "[callbacks]") {
  lightning::StateDict state;
  state.set("frozen/parameters", std::vector<std::string>{});
  state.set("frozen/statistics", std::vector<std::string>{});
  state.set("num_groups", 1);
  state.set("first_lr", 0.1);
  state.set("backbone_lr", 0.01);
  state.set("groups/0/optimizer", 0);
  state.set("groups/0/index", 1);
  state.set("groups/0/parameters", std::vector<std::string>{"backbone.weight"});
  state.set("groups/0/lr", 0.01);
  BackboneFinetuning finetuning;
  CHECK_NOTHROW(finetuning.load_state_dict(state));
  const auto refuses = [&](const char* name, lightning::StateDict::Value value) {
    lightning::StateDict broken = state;
    broken.set(name, std::move(value));
    INFO(name);
    CHECK_THROWS_AS(finetuning.load_state_dict(broken), lightning::CheckpointError);
  };
  refuses("num_groups", std::numeric_limits<int64_t>::max());
  refuses("groups/0/optimizer", int64_t{-1});
  refuses("groups/0/optimizer", int64_t{1});
  refuses("groups/0/index", int64_t{-1});
  refuses("groups/0/lr", std::numeric_limits<double>::quiet_NaN());
  refuses("groups/0/parameters", std::vector<std::string>{"a", "a"});
  refuses("first_lr", -1.0);
  refuses("backbone_lr", std::string("0.1"));
}

TEST_CASE("BackboneFinetuning is made from YAML", "[callbacks]") {
  const auto made = std::dynamic_pointer_cast<BackboneFinetuning>(
      lightning::callback_registry().create(lightning::config::parse_yaml(
          "{class_path: BackboneFinetuning, init_args: {backbone: net.encoder, "
          "unfreeze_backbone_at_epoch: 3, multiplier: 1.5}}",
          "config")));
  REQUIRE(made != nullptr);
  CHECK(made->state_key() == "BackboneFinetuning(backbone=net.encoder)");
}

TEST_CASE("BackboneFinetuning warns when the run ends before it unfreezes", "[callbacks]") {
  lightning::TrainerOptions options = double_options();
  options.max_epochs = 1;
  for (const int64_t epoch : {0, 1}) {
    const lightning_tests::CapturedStderr output;
    lightning::Trainer trainer(options,
                               {std::make_shared<BackboneFinetuning>(
                                   BackboneFinetuningOptions{.unfreeze_backbone_at_epoch = epoch})},
                               lightning::Loggers{});
    trainer.fit(std::make_shared<Finetunes>(), cosine_loader(6));
    const bool warned = output.text().find("the backbone stays frozen") != std::string::npos;
    CHECK(warned == (epoch == 1));
  }
}
