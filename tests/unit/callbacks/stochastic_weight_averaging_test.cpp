// StochasticWeightAveraging gives the weights, rates and statistics that Lightning's gives, and a
// run with it resumes bitwise from every safe point, of its last epoch too.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include <lightning/callbacks/finetuning.h>
#include <lightning/callbacks/gradient_accumulation_scheduler.h>
#include <lightning/callbacks/learning_rate_monitor.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/callbacks/stochastic_weight_averaging.h>
#include <lightning/callbacks/weight_averaging.h>
#include <lightning/nn/batch_norm.h>
#include <lightning/optim/lr_schedules.h>
#include <lightning/util/error.h>

#include "averaging_support.h"
#include "support/captured_stderr.h"
#include "support/metric_rows.h"

namespace {

using lightning::AnnealingStrategy;
using lightning::ConfigError;
using lightning::EpochStart;
using lightning::ModelCheckpoint;
using lightning::ModelCheckpointOptions;
using lightning::StateDict;
using lightning::StochasticWeightAveraging;
using lightning::StochasticWeightAveragingOptions;
using lightning_tests::check_golden;
using lightning_tests::check_resume_everywhere;
using lightning_tests::fit_net;
using lightning_tests::Net;
using lightning_tests::net_loader;
using lightning_tests::net_trainer_options;

std::shared_ptr<StochasticWeightAveraging> swa(const StochasticWeightAveragingOptions& options) {
  return std::make_shared<StochasticWeightAveraging>(options);
}

/// Notes the weights with which each epoch begins, and counts steps.
class NotesEpochs : public lightning::Callback {
 public:
  void on_train_epoch_start(lightning::TrainerContext&,
                            lightning::LightningModule& module) override {
    starts.push_back(dynamic_cast<Net&>(module).weights().clone());
  }
  void on_after_optimizer_step(lightning::TrainerContext&, lightning::LightningModule&,
                               const lightning::OptimizerStep&) override {
    ++steps;
  }
  std::vector<at::Tensor> starts;
  int64_t steps = 0;
};

/// Its validations log "score": the number of the epoch, in the one that renews statistics `last`.
class Scored : public Net {
 public:
  explicit Scored(double last_score)
      : Net(lightning_tests::NetOptions{.batch_norm = true}), last_(last_score) {}
  void validation_step(const lightning::Batch& batch, int64_t index) override {
    Net::validation_step(batch, index);
    const bool renews = current_epoch() == trainer().max_epochs().value();
    log("score", renews ? last_ : static_cast<double>(current_epoch()) + 1.0);
  }

 private:
  double last_;
};

/// A fit with SWA from the second epoch on, of which `checkpoint` keeps the state with the least
/// score.
struct ScoredFit {
  std::shared_ptr<Scored> net;
  std::filesystem::path checkpoints;
  std::string output;
};

ScoredFit fit_scored(lightning::TrainerOptions options, double last,
                     const std::shared_ptr<ModelCheckpoint>& checkpoint,
                     const std::filesystem::path& folder) {
  options.enable_checkpointing = true;
  options.default_root_dir = folder;
  const auto net = std::make_shared<Scored>(last);
  const lightning_tests::CapturedStderr output;
  lightning::Trainer trainer(options, {swa({.swa_lrs = {0.01}, .swa_epoch_start = 2}), checkpoint},
                             lightning::Loggers{});
  trainer.fit(net, net_loader(), net_loader());
  return {net, trainer.run_dir() / "checkpoints", output.text()};
}

/// The checkpoint at `path` has the weights and buffers of `net`.
void check_holds(const std::filesystem::path& path, const Net& net) {
  const auto checkpoint = lightning::Checkpoint::read(path);
  const auto parameters = net.named_parameters();
  const auto buffers = net.named_buffers();
  REQUIRE(checkpoint.model.size() == parameters.size() + buffers.size());
  for (const auto& [name, tensor] : checkpoint.model) {
    INFO(name);
    const at::Tensor* own = parameters.find(name);
    if (own == nullptr) own = buffers.find(name);
    REQUIRE(own != nullptr);
    CHECK(torch::equal(tensor, *own));
  }
}

}  // namespace

TEST_CASE("StochasticWeightAveraging gives Lightning's weights and rates", "[callbacks]") {
  check_golden("swa_cos", swa({.swa_lrs = {0.01}, .swa_epoch_start = 0.5, .annealing_epochs = 4}),
               {.groups = 2});
  check_golden("swa_linear",
               swa({.swa_lrs = {0.03, 0.01},
                    .swa_epoch_start = 12,
                    .annealing_epochs = 20,
                    .annealing_strategy = AnnealingStrategy::kLinear}),
               {.groups = 2});
}

TEST_CASE("StochasticWeightAveraging renews BatchNorm's statistics as Lightning's", "[callbacks]") {
  check_golden("swa_batch_norm",
               swa({.swa_lrs = {0.01}, .swa_epoch_start = 0.8, .annealing_epochs = 2}),
               {.batch_norm = true});
  check_golden("swa_at_once",
               swa({.swa_lrs = {0.01}, .swa_epoch_start = 20, .annealing_epochs = 0}),
               {.batch_norm = true});
}

TEST_CASE("The epoch that renews statistics has Lightning's hooks, and no step", "[callbacks]") {
  const auto calls = lightning_tests::noted_hooks(
      swa({.swa_lrs = {0.01}, .swa_epoch_start = 1, .annealing_epochs = 2}));
  auto expected = lightning_tests::golden_hooks("averaging_hooks_swa.txt");
  // Lightning steps the optimizer in that epoch's last batch, with whatever gradients there are.
  const auto third = std::find(expected.begin(), expected.end(), "CB.on_train_epoch_start *");
  REQUIRE(third != expected.end());
  expected.erase(std::remove_if(third, expected.end(),
                                [](const std::string& line) {
                                  return line.ends_with("on_before_optimizer_step");
                                }),
                 expected.end());
  for (size_t i = 0; i < std::min(calls.size(), expected.size()); ++i) {
    INFO("hook number " << i + 1);
    REQUIRE(calls[i] == expected[i]);
  }
  CHECK(calls.size() == expected.size());
}

TEST_CASE("The average is of the starts of epochs, and no step follows it", "[callbacks]") {
  const auto average = swa({.swa_lrs = {0.01}, .swa_epoch_start = 2, .annealing_epochs = 1});
  for (const bool batch_norm : {false, true}) {
    const auto notes = std::make_shared<NotesEpochs>();
    const auto net = fit_net({.batch_norm = batch_norm}, net_trainer_options(4), {average, notes});
    CHECK(average->averaged() == 3);
    CHECK(notes->steps == 20);
    REQUIRE(notes->starts.size() == (batch_norm ? 5 : 4));
    const auto& starts = notes->starts;
    const at::Tensor expected = (starts[1] + starts[2] + starts[3]) / 3;
    const auto parameters = [](const at::Tensor& weights) { return weights.slice(0, 0, 16); };
    CHECK(torch::allclose(parameters(net->weights()), parameters(expected), 1e-12, 1e-14));
    if (!batch_norm) continue;
    CHECK(torch::allclose(parameters(starts[4]), parameters(expected), 1e-12, 1e-14));
    // The layer has its momentum again.
    CHECK(net->norm->options.momentum() == std::optional<double>(0.1));
    CHECK(net->norm->num_batches_tracked.item<int64_t>() == 5);
  }
}

TEST_CASE("Frozen BatchNorm layers keep their statistics", "[callbacks]") {
  /// Only `norm` learns its statistics; `evaluates` is in evaluation mode, `still` has momentum 0.
  class Frozen : public Net {
   public:
    Frozen() : Net(lightning_tests::NetOptions{.batch_norm = true}) {
      evaluates = register_module("evaluates", torch::nn::BatchNorm1d(3));
      still = register_module(
          "still", torch::nn::BatchNorm1d(torch::nn::BatchNorm1dOptions(3).momentum(0.0)));
      to(torch::kFloat64);
      for (const auto& layer : {evaluates, still}) {
        layer->running_mean.fill_(0.25);
        layer->running_var.fill_(2.0);
      }
    }
    void on_train_epoch_start() override { evaluates->eval(); }
    lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
      const at::Tensor x = still->forward(evaluates->forward(batch["x"]));
      return loss_of(lightning::Batch({{"x", x}, {"y", batch["y"]}}));
    }
    torch::nn::BatchNorm1d evaluates{nullptr}, still{nullptr};
  };
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = net_trainer_options(2);
  options.default_root_dir = folder.path();
  const auto module = std::make_shared<Frozen>();
  lightning::Trainer(options, {swa({.swa_lrs = {0.01}, .swa_epoch_start = 1})},
                     lightning::Loggers{})
      .fit(module, net_loader(), net_loader());
  for (const auto& layer : {module->evaluates, module->still}) {
    CHECK(torch::equal(layer->running_mean, torch::full({3}, 0.25, torch::kFloat64)));
    CHECK(torch::equal(layer->running_var, torch::full({3}, 2.0, torch::kFloat64)));
  }
  CHECK(module->still->options.momentum() == std::optional<double>(0.0));
  // The other one counts the batches of the last epoch alone.
  CHECK(module->norm->num_batches_tracked.item<int64_t>() == 5);
}

TEST_CASE("The epoch that renews statistics comes also at max_steps and after a stop",
          "[callbacks]") {
  const auto make = [] { return swa({.swa_lrs = {0.01}, .swa_epoch_start = 2}); };
  const auto whole = fit_net({.batch_norm = true}, net_trainer_options(3), {make()});
  lightning::TrainerOptions limited = net_trainer_options(3);
  limited.max_steps = 15;
  CHECK(
      torch::equal(fit_net({.batch_norm = true}, limited, {make()})->weights(), whole->weights()));
  struct Stops : lightning::Callback {
    void on_train_epoch_end(lightning::TrainerContext& trainer,
                            lightning::LightningModule&) override {
      if (trainer.current_epoch() == 2) trainer.request_stop("enough");
    }
  };
  CHECK(torch::equal(
      fit_net({.batch_norm = true}, net_trainer_options(3), {make(), std::make_shared<Stops>()})
          ->weights(),
      whole->weights()));
}

TEST_CASE("A fit that ends early keeps the trained weights and says so", "[callbacks]") {
  const auto notes = std::make_shared<NotesEpochs>();
  lightning::TrainerOptions options = net_trainer_options(4);
  options.max_steps = 12;
  const lightning_tests::CapturedStderr output;
  const auto net = fit_net({.batch_norm = true}, options,
                           {swa({.swa_lrs = {0.01}, .swa_epoch_start = 2}), notes});
  CHECK_THAT(output.text(), Catch::Contains("ended in epoch 2 of 4") &&
                                Catch::Contains("keeps the trained weights"));
  CHECK(notes->steps == 12);
  CHECK(notes->starts.size() == 3);
  CHECK_FALSE(torch::equal(net->weights(), (notes->starts[1] + notes->starts[2]) / 2));
}

TEST_CASE("Without max_epochs the module gets the average when the fit ends", "[callbacks]") {
  const auto notes = std::make_shared<NotesEpochs>();
  lightning::TrainerOptions options = net_trainer_options(-1);
  options.max_steps = 12;
  const auto net = fit_net({}, options, {swa({.swa_lrs = {0.01}, .swa_epoch_start = 2}), notes});
  REQUIRE(notes->starts.size() == 3);
  CHECK(torch::allclose(net->weights(), (notes->starts[1] + notes->starts[2]) / 2, 1e-12, 1e-14));
}

TEST_CASE("A run with SWA resumes bitwise from every safe point", "[callbacks]") {
  const lightning::TrainerOptions options = net_trainer_options(3);
  const auto make = [] {
    return swa({.swa_lrs = {0.01}, .swa_epoch_start = 2, .annealing_epochs = 2});
  };
  // Epochs of 5 batches, a validation and an end; the last one renews statistics.
  CHECK(check_resume_everywhere({.batch_norm = true}, options, make) == 28);
  CHECK(check_resume_everywhere({.groups = 2}, options, make) == 21);
}

TEST_CASE("Rates are logged as before in a run that resumes after SWA began", "[callbacks]") {
  const lightning_tests::TemporaryFolder runs;
  const lightning_tests::TemporaryFolder saved;
  lightning::TrainerOptions options = net_trainer_options(3);
  options.default_root_dir = runs.path();
  options.log_every_n_steps = 1;
  const auto logged = [&](lightning::Callbacks further, const std::string& ckpt_path) {
    const auto rows = std::make_shared<lightning_tests::MetricRows>();
    lightning::Callbacks callbacks = {
        swa({.swa_lrs = {0.01}, .swa_epoch_start = 2, .annealing_epochs = 2}),
        std::make_shared<lightning::LearningRateMonitor>()};
    callbacks.insert(callbacks.end(), further.begin(), further.end());
    lightning::Trainer(options, callbacks, lightning::Loggers{rows})
        .fit(std::make_shared<Net>(), net_loader(), net_loader(), {.ckpt_path = ckpt_path});
    return rows->lines;
  };
  const auto saves = std::make_shared<lightning_tests::SavesEverywhere>(saved.path());
  const lightning_tests::Lines whole = logged({saves}, "");
  // By the schedule's interval: SWA removes the schedule.
  REQUIRE(whole.size() == 3);
  CHECK_THAT(whole[0], Catch::StartsWith("5 lr-SGD="));
  CHECK_THAT(whole[2], Catch::StartsWith("15 lr-SGD="));
  const auto checkpoints = lightning::list_checkpoints(saved.path());
  REQUIRE(checkpoints.size() == 21);
  for (const auto& checkpoint : checkpoints) {
    INFO(checkpoint.filename().string());
    // The number of the safe point, of which an epoch has 7.
    const int64_t completed = (std::stoll(checkpoint.filename().string()) + 1) / 7;
    CHECK(logged({}, checkpoint.string()) ==
          lightning_tests::Lines(whole.begin() + completed, whole.end()));
  }
}

TEST_CASE("A session that only renews statistics leaves the average on the disk", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  const auto make = [] { return swa({.swa_lrs = {0.01}, .swa_epoch_start = 2}); };
  fit_net({.batch_norm = true}, net_trainer_options(3),
          {make(), std::make_shared<lightning_tests::SavesEverywhere>(folder.path())});
  // The end of the last epoch that trains, and the middle of the one that renews.
  for (const char* from : {"20_epoch.ckpt", "22_batch.ckpt"}) {
    INFO(from);
    const lightning_tests::TemporaryFolder resumed_folder;
    lightning::TrainerOptions options = net_trainer_options(3);
    options.enable_checkpointing = true;
    options.default_root_dir = resumed_folder.path();
    const auto net = std::make_shared<Net>(lightning_tests::NetOptions{.batch_norm = true});
    const lightning_tests::CapturedStderr output;
    // Its interval never comes.
    lightning::Trainer trainer(
        options,
        {make(), std::make_shared<ModelCheckpoint>(ModelCheckpointOptions{.every_n_epochs = 100})},
        lightning::Loggers{});
    trainer.fit(net, net_loader(), net_loader(), {.ckpt_path = (folder.path() / from).string()});
    CHECK_THAT(output.text(), !Catch::Contains("no step was made"));
    check_holds(trainer.run_dir() / "checkpoints" / "last.ckpt", *net);
  }
}

TEST_CASE("ModelCheckpoint judges the average by the epoch that renews statistics", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  const auto make = [](std::optional<bool> at_epoch_end) {
    return std::make_shared<ModelCheckpoint>(
        ModelCheckpointOptions{.monitor = "score", .save_on_train_epoch_end = at_epoch_end});
  };
  SECTION("it is the best") {
    const auto checkpoint = make(std::nullopt);
    const ScoredFit fit = fit_scored(net_trainer_options(3), 0.5, checkpoint, folder.path());
    CHECK(checkpoint->best_model_score() == 0.5);
    check_holds(fit.checkpoints / "best.ckpt", *fit.net);
  }
  SECTION("it isn't the best") {
    const auto checkpoint = make(std::nullopt);
    const ScoredFit fit = fit_scored(net_trainer_options(3), 9.0, checkpoint, folder.path());
    CHECK(checkpoint->best_model_score() == 1.0);
    CHECK(checkpoint->current_score() == 9.0);
    CHECK_THAT(fit.output, Catch::Contains("its score was not among the best 1"));
  }
  SECTION("after a validation") {
    const auto checkpoint = make(false);
    lightning::TrainerOptions options = net_trainer_options(3);
    options.val_check_interval = 5;
    const ScoredFit fit = fit_scored(options, 0.5, checkpoint, folder.path());
    CHECK(checkpoint->best_model_score() == 0.5);
    check_holds(fit.checkpoints / "best.ckpt", *fit.net);
    CHECK_THAT(fit.output, !Catch::Contains("accumulation window"));
  }
  SECTION("it has no validation, and no score of the trained weights") {
    const auto checkpoint = make(true);
    lightning::TrainerOptions options = net_trainer_options(2);
    options.check_val_every_n_epoch = 2;
    const ScoredFit fit = fit_scored(options, 0.5, checkpoint, folder.path());
    CHECK(checkpoint->best_model_score() == 2.0);
    CHECK_FALSE(checkpoint->current_score().has_value());
    CHECK(checkpoint->last_model_path() != checkpoint->best_model_path());
    check_holds(fit.checkpoints / "last.ckpt", *fit.net);
  }
}

TEST_CASE("A resumed run with other optimizer options has the rates of SWA", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = net_trainer_options(3);
  options.resume_optimizer_options = lightning::ResumeOptimizerOptions::kFromConfig;
  const auto make = [] {
    return swa({.swa_lrs = {0.01}, .swa_epoch_start = 2, .annealing_epochs = 1});
  };
  const auto whole = fit_net(
      {}, options, {make(), std::make_shared<lightning_tests::SavesEverywhere>(folder.path())});
  // In the middle of the last epoch.
  for (const auto& checkpoint : lightning::list_checkpoints(folder.path())) {
    if (checkpoint.filename() != "16_batch.ckpt") continue;
    const lightning_tests::TemporaryFolder resumed_folder;
    options.default_root_dir = resumed_folder.path();
    const auto resumed = std::make_shared<Net>();
    lightning::Trainer(options, {make()}, lightning::Loggers{})
        .fit(resumed, net_loader(), net_loader(), {.ckpt_path = checkpoint.string()});
    CHECK(torch::equal(resumed->weights(), whole->weights()));
    CHECK(resumed->val_losses.back() == whole->val_losses.back());
    return;
  }
  FAIL("no checkpoint of that name");
}

TEST_CASE("A run with SWA resumes with groups that finetuning added", "[callbacks]") {
  /// Begins with a group for each parameter of its last layer.
  class Headed : public Net {
   public:
    lightning::OptimizerList configure_optimizers() override {
      std::vector<torch::optim::OptimizerParamGroup> groups;
      groups.emplace_back(std::vector<at::Tensor>{last->weight});
      groups.emplace_back(std::vector<at::Tensor>{last->bias});
      return std::make_shared<lightning::optim::SGD>(groups,
                                                     torch::optim::SGDOptions(0.05).momentum(0.5));
    }
  };
  const bool averages_first = GENERATE(true, false);
  const bool one_rate = GENERATE(true, false);
  const auto rates = one_rate ? std::vector<double>{0.01} : std::vector<double>{0.01, 0.02};
  const lightning_tests::TemporaryFolder runs;
  const lightning_tests::TemporaryFolder saved;
  lightning::TrainerOptions options = net_trainer_options(4);
  options.default_root_dir = runs.path();
  const auto fit = [&](lightning::Callbacks callbacks, const std::string& ckpt_path) {
    // The third group comes in the second epoch, averages from the third one on.
    const std::shared_ptr<lightning::Callback> average =
        swa({.swa_lrs = rates, .swa_epoch_start = 3, .annealing_epochs = 1});
    const std::shared_ptr<lightning::Callback> finetuning =
        std::make_shared<lightning::BackboneFinetuning>(lightning::BackboneFinetuningOptions{
            .backbone = "first", .unfreeze_backbone_at_epoch = 1});
    callbacks.push_back(averages_first ? average : finetuning);
    callbacks.push_back(averages_first ? finetuning : average);
    const auto module = std::make_shared<Headed>();
    lightning::Trainer(options, callbacks, lightning::Loggers{})
        .fit(module, net_loader(), net_loader(), {.ckpt_path = ckpt_path});
    return module->weights();
  };
  const auto saves = std::make_shared<lightning_tests::SavesEverywhere>(saved.path());
  const at::Tensor whole = fit({saves}, "");
  const auto checkpoints = lightning::list_checkpoints(saved.path());
  REQUIRE(checkpoints.size() == 28);
  for (const auto& checkpoint : checkpoints) {
    INFO(checkpoint.filename().string());
    CHECK(torch::equal(fit({}, checkpoint.string()), whole));
  }
}

TEST_CASE("A run that resumes without SWA has its LR schedule again", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = net_trainer_options(4);
  fit_net({}, options,
          {swa({.swa_lrs = {0.01}, .swa_epoch_start = 2}),
           std::make_shared<lightning_tests::SavesEverywhere>(folder.path())});
  // In the middle of the third epoch, the second one of SWA.
  const lightning_tests::TemporaryFolder resumed_folder;
  options.default_root_dir = resumed_folder.path();
  const auto resumed = std::make_shared<Net>();
  const lightning_tests::CapturedStderr output;
  lightning::Trainer(options, {}, lightning::Loggers{})
      .fit(resumed, net_loader(), net_loader(),
           {.ckpt_path = (folder.path() / "16_batch.ckpt").string()});
  CHECK_THAT(output.text(), Catch::Contains("lr_scheduler: none in the checkpoint") &&
                                Catch::Contains("as if it had made 2 steps"));
  // StepLR has counted three epochs.
  REQUIRE(resumed->rates.size() == 1);
  CHECK(resumed->rates[0] == Approx(0.05 * 0.9));
}

TEST_CASE("With more epochs the one that renewed statistics isn't one of those that train",
          "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  const auto make = [] { return swa({.swa_lrs = {0.01}, .swa_epoch_start = 2}); };
  fit_net({.batch_norm = true}, net_trainer_options(2),
          {make(), std::make_shared<lightning_tests::SavesEverywhere>(folder.path())});
  // The middle and the end of the epoch that renews.
  for (const char* from : {"16_batch.ckpt", "20_epoch.ckpt"}) {
    INFO(from);
    const lightning_tests::TemporaryFolder resumed_folder;
    lightning::TrainerOptions options = net_trainer_options(4);
    options.default_root_dir = resumed_folder.path();
    const auto notes = std::make_shared<NotesEpochs>();
    lightning::Trainer trainer(options, {make(), notes}, lightning::Loggers{});
    trainer.fit(std::make_shared<Net>(lightning_tests::NetOptions{.batch_norm = true}),
                net_loader(), net_loader(), {.ckpt_path = (folder.path() / from).string()});
    CHECK(notes->steps == 10);
    CHECK(notes->starts.size() == 3);  // two that train, and one that renews
    CHECK(trainer.global_step() == 20);
  }
}

TEST_CASE("A resume after SWA began finds the configured rate as it was", "[callbacks]") {
  /// Its schedule changes the rate when it is made.
  class Warms : public Net {
   public:
    lightning::OptimizerList configure_optimizers() override {
      const auto optimizer =
          std::make_shared<lightning::optim::SGD>(parameters(), torch::optim::SGDOptions(0.05));
      return lightning::OptimizerConfig{
          .optimizer = optimizer,
          .lr_scheduler = std::make_shared<lightning::optim::LinearLR>(optimizer, 0.1, 1.0, 3)};
    }
  };
  const lightning_tests::TemporaryFolder runs;
  const lightning_tests::TemporaryFolder saved;
  lightning::TrainerOptions options = net_trainer_options(3);
  options.default_root_dir = runs.path();
  const auto fit = [&](lightning::Callbacks callbacks, const std::string& ckpt_path) {
    callbacks.push_back(swa({.swa_lrs = {0.01}, .swa_epoch_start = 2}));
    const lightning_tests::CapturedStderr output;
    lightning::Trainer(options, callbacks, lightning::Loggers{})
        .fit(std::make_shared<Warms>(), net_loader(), net_loader(), {.ckpt_path = ckpt_path});
    return output.text();
  };
  fit({std::make_shared<lightning_tests::SavesEverywhere>(saved.path())}, "");
  CHECK_THAT(fit({}, (saved.path() / "9_batch.ckpt").string()), !Catch::Contains("optimizer lr"));
}

TEST_CASE("A signal in on_train_end leaves a checkpoint from which the fit ends as without",
          "[callbacks]") {
  class Stopped : public Net {
   public:
    Stopped(const lightning_tests::NetOptions& options, bool stops) : Net(options), stops_(stops) {}
    void on_train_end() override {
      if (stops_) std::raise(SIGTERM);
    }

   private:
    bool stops_;
  };
  const bool batch_norm = GENERATE(false, true);
  const lightning_tests::NetOptions net{.batch_norm = batch_norm};
  const auto make = [] { return swa({.swa_lrs = {0.01}, .swa_epoch_start = 2}); };
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = net_trainer_options(3);
  const auto whole = fit_net(net, options, {make()});
  options.default_root_dir = folder.path();
  options.enable_checkpointing = true;
  const lightning_tests::HarmlessTermination of_the_test_program;
  CHECK_THROWS_WITH(
      lightning::Trainer(options, {make()}, lightning::Loggers{})
          .fit(std::make_shared<Stopped>(net, true), net_loader(), net_loader()),
      Catch::Contains("stopped by SIGTERM after step 15") && Catch::Contains("resume with"));
  const auto resumed = std::make_shared<Stopped>(net, false);
  lightning::Trainer(options, {make()}, lightning::Loggers{})
      .fit(resumed, net_loader(), net_loader(), {.ckpt_path = "last"});
  CHECK(torch::equal(resumed->weights(), whole->weights()));
}

TEST_CASE("SWA that can't be is refused before the first step", "[callbacks]") {
  class Untrained : public Net {
   public:
    using Net::Net;
    lightning::StepOutput training_step(const lightning::Batch&, int64_t) override {
      throw std::runtime_error("trained");
    }
  };
  const auto fit = [](lightning::TrainerOptions options,
                      const StochasticWeightAveragingOptions& swa_options,
                      const lightning_tests::NetOptions& net = {}) {
    const lightning_tests::TemporaryFolder folder;
    options.default_root_dir = folder.path();
    lightning::Trainer(options, {swa(swa_options)}, lightning::Loggers{})
        .fit(std::make_shared<Untrained>(net), net_loader(), net_loader());
  };
  CHECK_THROWS_WITH(fit(net_trainer_options(4), {.swa_lrs = {0.01}, .swa_epoch_start = 5}),
                    Catch::Contains("swa_epoch_start is 5") && Catch::Contains("has 4 epochs"));
  lightning::TrainerOptions by_steps = net_trainer_options(4);
  by_steps.max_steps = 10;
  CHECK_THROWS_WITH(fit(by_steps, {.swa_lrs = {0.01}, .swa_epoch_start = 3}),
                    Catch::Contains("has 2 epochs"));
  CHECK_THROWS_WITH(fit(by_steps, {.swa_lrs = {0.01}, .swa_epoch_start = 2}), "trained");
  by_steps.max_epochs = -1;
  CHECK_THROWS_WITH(fit(by_steps, {.swa_lrs = {0.01}, .swa_epoch_start = 0.5}),
                    Catch::Contains("swa_epoch_start is 0.5") && Catch::Contains("max_epochs"));
  CHECK_THROWS_WITH(
      fit(net_trainer_options(4), {.swa_lrs = {0.01, 0.02}}),
      Catch::Contains("swa_lrs has 2 learning rates") && Catch::Contains("has 1 parameter group,"));
  class Manual : public Untrained {
   public:
    Manual() { set_automatic_optimization(false); }
  };
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = net_trainer_options(4);
  options.default_root_dir = folder.path();
  CHECK_THROWS_WITH(lightning::Trainer(options, {swa({.swa_lrs = {0.01}})}, lightning::Loggers{})
                        .fit(std::make_shared<Manual>(), net_loader(), net_loader()),
                    Catch::Contains("automatic optimization"));

  CHECK_THROWS_AS(swa({}), ConfigError);
  CHECK_THROWS_AS(swa({.swa_lrs = {0.0}}), ConfigError);
  CHECK_THROWS_AS(swa({.swa_lrs = {0.1, -0.1}}), ConfigError);
  CHECK_THROWS_AS(swa({.swa_lrs = {0.1}, .swa_epoch_start = 0}), ConfigError);
  CHECK_THROWS_AS(swa({.swa_lrs = {0.1}, .swa_epoch_start = 1.5}), ConfigError);
  CHECK_THROWS_AS(swa({.swa_lrs = {0.1}, .annealing_epochs = -1}), ConfigError);
}

TEST_CASE("Averages begin where epochs have fewer steps than the first", "[callbacks]") {
  // 5 steps in the first epoch and 2 in each of the 7 others: 19, which is less than 4 times 5.
  const auto accumulation = std::make_shared<lightning::GradientAccumulationScheduler>(
      lightning::GradientAccumulationSchedulerOptions{.scheduling = {{0, 1}, {1, 4}}});
  const auto average = swa({.swa_lrs = {0.01}, .swa_epoch_start = 6});
  fit_net({}, net_trainer_options(8), {average, accumulation});
  CHECK(average->averaged() == 3);
  const auto ema = std::make_shared<lightning::EMAWeightAveraging>(
      lightning::EMAWeightAveragingOptions{.update_starting_at_epoch = 5});
  CHECK_NOTHROW(fit_net({}, net_trainer_options(8), {ema, accumulation}));
  // What max_epochs alone says still counts.
  CHECK_THROWS_WITH(fit_net({}, net_trainer_options(5), {average, accumulation}),
                    Catch::Contains("swa_epoch_start is 6") && Catch::Contains("has 5 epochs"));
}

TEST_CASE("States of SWA that make no sense are refused", "[callbacks]") {
  const auto load = [](const std::function<void(StateDict&)>& damage) {
    StateDict state;
    state.set("first_epoch", 2);
    state.set("latest_update_epoch", 3);
    state.set("averaged", 2);
    state.set("base_rates", std::vector<double>{0.1});
    state.set("average/first.weight", torch::ones({4, 3}));
    damage(state);
    swa({.swa_lrs = {0.01}})->load_state_dict(state);
  };
  CHECK_NOTHROW(load([](StateDict&) {}));
  using lightning::CheckpointError;
  CHECK_THROWS_AS(load([](StateDict& state) { state.set("first_epoch", -2); }), CheckpointError);
  CHECK_THROWS_AS(load([](StateDict& state) { state.set("first_epoch", 4); }), CheckpointError);
  CHECK_THROWS_AS(load([](StateDict& state) { state.set("averaged", 0); }), CheckpointError);
  CHECK_THROWS_AS(load([](StateDict& state) { state.set("averaged", "two"); }), CheckpointError);
  CHECK_THROWS_AS(load([](StateDict& state) { state.set("base_rates", std::vector<double>{}); }),
                  CheckpointError);
  CHECK_THROWS_AS(load([](StateDict& state) { state.set("base_rates", std::vector<double>{NAN}); }),
                  CheckpointError);
}

TEST_CASE("Checkpoints with a damaged average of SWA are refused", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = net_trainer_options(2);
  options.default_root_dir = folder.path();
  const auto make = [] { return swa({.swa_lrs = {0.01}, .swa_epoch_start = 2}); };
  lightning::Trainer trainer(options, {make()}, lightning::Loggers{});
  trainer.fit(std::make_shared<Net>(), net_loader(), net_loader());
  trainer.save_checkpoint(folder.path() / "whole.ckpt");
  options.max_epochs = 3;
  int count = 0;
  const auto resume = [&](const std::string& name, const at::Tensor& tensor) {
    auto checkpoint = lightning::Checkpoint::read(folder.path() / "whole.ckpt");
    checkpoint.state.set("callbacks/StochasticWeightAveraging/" + name, tensor);
    const auto path = folder.path() / ("damaged" + std::to_string(count++) + ".ckpt");
    checkpoint.write(path);
    lightning::Trainer(options, {make()}, lightning::Loggers{})
        .fit(std::make_shared<Net>(), net_loader(), net_loader(), {.ckpt_path = path.string()});
  };
  const at::Tensor right = torch::ones({4, 3}, torch::kFloat64);
  CHECK_NOTHROW(resume("average/first.weight", right));
  using lightning::CheckpointError;
  CHECK_THROWS_AS(resume("average/first.weight", torch::ones({3}, torch::kFloat64)),
                  CheckpointError);
  CHECK_THROWS_AS(resume("average/first.weight", right.to(torch::kFloat32)), CheckpointError);
  CHECK_THROWS_AS(resume("average/more", right), CheckpointError);
}

TEST_CASE("swa_epoch_start is a number or a fraction", "[callbacks]") {
  CHECK(EpochStart(1).index(10) == 0);
  CHECK(EpochStart(8).index(std::nullopt) == 7);
  CHECK(EpochStart(0.8).index(10) == 7);
  CHECK(EpochStart(0.0).index(10) == 0);
  CHECK(EpochStart(1.0).index(10) == 9);
  for (const char* text : {"8", "0.8", "1.0"}) CHECK(EpochStart::from_text(text).to_text() == text);
  CHECK(EpochStart::from_text("1").is_number());
  CHECK_FALSE(EpochStart::from_text("1.0").is_number());
  CHECK_THROWS_AS(EpochStart::from_text("soon"), ConfigError);
  CHECK(EpochStart(std::numeric_limits<double>::quiet_NaN()).to_text() == "nan");
}

TEST_CASE("Statistics are renewed in the library's own BatchNorm too", "[callbacks]") {
  class Own : public Net {
   public:
    Own() {
      own = register_module("own", lightning::nn::BatchNorm(lightning::nn::BatchNormOptions(3)));
      own->to(torch::kFloat64);
    }
    lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
      lightning::Batch normed({{"x", own->forward(batch["x"])}, {"y", batch["y"]}});
      return Net::training_step(normed, index);
    }
    lightning::nn::BatchNorm own{nullptr};
  };
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = net_trainer_options(2);
  options.default_root_dir = folder.path();
  const auto net = std::make_shared<Own>();
  lightning::Trainer(options, {swa({.swa_lrs = {0.01}, .swa_epoch_start = 1})},
                     lightning::Loggers{})
      .fit(net, net_loader(), net_loader());
  at::Tensor mean = torch::zeros({3}, torch::kFloat64);
  const auto loader = net_loader();
  while (auto batch = loader->next()) mean += (*batch)["x"].mean(0) / 5;
  CHECK(torch::allclose(net->own->running_mean, mean, 1e-12, 1e-14));
  CHECK(net->own->options.momentum() == std::optional<double>(0.1));
}
