// What fit does beyond the order of its hooks: limits, stopping, non-finite values, checkpoints.
#include <fstream>
#include <limits>

#include <catch2/catch.hpp>

#include <lightning/callbacks/early_stopping.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/loggers/csv_logger.h>
#include <lightning/optim/optimizer_state.h>
#include <lightning/precision/precision.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
using lightning::Trainer;
using lightning::TrainerOptions;

/// Runs a fit and returns the Trainer's final counters.
struct Counters {
  int64_t epochs;
  int64_t steps;
};
Counters fit(TrainerOptions options, int64_t samples = 6) {
  Trainer trainer(options, {}, lightning::Loggers{});
  trainer.fit(std::make_shared<BoringModule>(), boring_loader(samples));
  return {trainer.current_epoch(), trainer.global_step()};
}

/// A loss that turns into `value` at one step.
class TurnsBad : public BoringModule {
 public:
  TurnsBad(int64_t bad_step, bool in_gradient) : bad_step_(bad_step), in_gradient_(in_gradient) {}
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    const at::Tensor loss = layer->forward(batch["x"]).square().mean();
    if (global_step() + 1 != bad_step_) return loss;
    // sqrt(0) is 0 and has an infinite derivative: times 0 in the chain, a nan gradient.
    if (in_gradient_) return loss + (layer->weight.sum() * 0.0).sqrt();
    return loss * std::numeric_limits<double>::quiet_NaN();
  }

 private:
  int64_t bad_step_;
  bool in_gradient_;
};

}  // namespace

TEST_CASE("fit ends at each of its limits", "[trainer]") {
  TrainerOptions options = quiet_options();
  SECTION("max_epochs") {
    options.max_epochs = 2;
    const Counters counters = fit(options);
    CHECK(counters.epochs == 2);
    CHECK(counters.steps == 6);
  }
  SECTION("max_steps, in the middle of an epoch") {
    options.max_steps = 4;
    const Counters counters = fit(options);
    CHECK(counters.steps == 4);
    CHECK(counters.epochs == 1);
  }
  SECTION("limit_train_batches as a share") {
    options.max_epochs = 1;
    options.limit_train_batches = 0.5;
    CHECK(fit(options, 8).steps == 2);
  }
  SECTION("accumulation steps at the epoch's end too") {
    options.max_epochs = 2;
    options.accumulate_grad_batches = 2;
    CHECK(fit(options).steps == 4);
  }
  SECTION("no training at all") {
    options.max_epochs = 0;
    CHECK(fit(options).steps == 0);
  }
  SECTION("max_time") {
    options.max_time = std::chrono::seconds(1);
    CHECK(fit(options).steps > 0);
  }
}

TEST_CASE("A non-finite loss or gradient ends the fit and names the first bad step", "[trainer]") {
  const bool in_gradient = GENERATE(false, true);
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.max_epochs = 10;
  options.log_every_n_steps = 50;  // later than the first checkpoint
  options.default_root_dir = folder.path();
  Trainer trainer(options,
                  {std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{
                      .save_top_k = -1, .every_n_train_steps = 1})},
                  lightning::Loggers{});
  CHECK_THROWS_WITH(
      trainer.fit(std::make_shared<TurnsBad>(5, in_gradient), boring_loader()),
      Catch::Contains(in_gradient ? "gradient" : "loss") && Catch::Contains("step 5"));
  // The bad state was not committed, the ones before it are there.
  const auto checkpoints = lightning::list_checkpoints(trainer.run_dir() / "checkpoints");
  CHECK(checkpoints.size() == 4);
}

TEST_CASE("on_nonfinite warn continues", "[trainer]") {
  TrainerOptions options = quiet_options();
  options.max_epochs = 3;
  options.on_nonfinite = lightning::OnNonfinite::kWarn;
  Trainer trainer(options, {}, lightning::Loggers{});
  trainer.fit(std::make_shared<TurnsBad>(2, false), boring_loader());
  CHECK(trainer.global_step() == 9);
}

TEST_CASE("Buffers and optimizer state that aren't finite are never committed", "[trainer]") {
  using lightning::OnNonfinite;
  /// Weights and gradients stay finite all the time.
  class Poisons : public BoringModule {
   public:
    explicit Poisons(bool in_optimizer) : in_optimizer_(in_optimizer) {
      variance = register_buffer("variance", torch::ones({2}));
      // By design: never in the way.
      register_buffer("mask", torch::full({2}, -std::numeric_limits<float>::infinity()));
      register_buffer("count", torch::zeros({1}, torch::kInt64));
    }
    lightning::OptimizerList configure_optimizers() override {
      return std::make_shared<lightning::optim::Adam>(parameters(), 0.01);
    }
    void on_train_batch_end(const lightning::StepOutput&, const lightning::Batch&,
                            int64_t) override {
      if (global_step() != 3) return;
      if (!in_optimizer_) {
        variance.fill_(std::numeric_limits<float>::quiet_NaN());
        return;
      }
      // Divided by it, an update is 0.
      const auto state = lightning::optim::optimizer_state(*trainer().optimizers()[0].optimizer,
                                                           lightning::optim::ParameterNames(*this));
      at::NoGradGuard no_grad;
      state.get<at::Tensor>("state/layer.weight/exp_avg_sq")
          .fill_(std::numeric_limits<float>::infinity());
    }
    at::Tensor variance;

   private:
    bool in_optimizer_;
  };
  const auto [on_nonfinite, in_optimizer] =
      GENERATE(table<OnNonfinite, bool>({{OnNonfinite::kError, false},
                                         {OnNonfinite::kError, true},
                                         {OnNonfinite::kWarn, false},
                                         {OnNonfinite::kIgnore, false},
                                         {OnNonfinite::kIgnore, true}}));
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.max_epochs = 2;
  options.on_nonfinite = on_nonfinite;
  options.default_root_dir = folder.path();
  Trainer trainer(options,
                  {std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{
                      .save_top_k = -1, .every_n_train_steps = 1})},
                  lightning::Loggers{});
  const auto module = std::make_shared<Poisons>(in_optimizer);
  const auto run = [&] { trainer.fit(module, boring_loader()); };
  if (on_nonfinite == OnNonfinite::kError) {
    CHECK_THROWS_WITH(run(), Catch::Contains(in_optimizer ? "exp_avg_sq" : "buffer variance") &&
                                 Catch::Contains("after step 3"));
  } else {
    run();
    CHECK(trainer.global_step() == 6);
  }
  CHECK(module->layer->weight.isfinite().all().item<bool>());
  CHECK(lightning::list_checkpoints(trainer.run_dir() / "checkpoints").size() == 2);
}

TEST_CASE("deterministic: an operation that isn't is an error, with warn it runs", "[trainer]") {
  class Puts : public BoringModule {
    lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
      torch::zeros({4}).put_(torch::tensor({1, 1}), torch::ones({2}));  // which of the two?
      return BoringModule::training_step(batch, index);
    }
  };
  TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  const auto run = [&options] {
    Trainer trainer(options, {}, lightning::Loggers{});
    trainer.fit(std::make_shared<Puts>(), boring_loader());
    return trainer.global_step();
  };
  CHECK(run() == 3);
  options.deterministic = true;
  CHECK_THROWS_WITH(run(), Catch::Contains("deterministic"));
  options.deterministic = "warn";
  CHECK(run() == 3);
  options.deterministic = false;
  CHECK(run() == 3);
}

TEST_CASE("EarlyStopping ends the fit after patience looks, not before min_epochs", "[trainer]") {
  class Flat : public BoringModule {
    void validation_step(const lightning::Batch&, int64_t) override { log("val_loss", 1.0); }
  };
  TrainerOptions options = quiet_options();
  options.max_epochs = 20;
  const int64_t min_epochs = GENERATE(0, 8);
  options.min_epochs = min_epochs;
  Trainer trainer(options,
                  {std::make_shared<lightning::EarlyStopping>(
                      lightning::EarlyStoppingOptions{.monitor = "val_loss", .patience = 2})},
                  lightning::Loggers{});
  trainer.fit(std::make_shared<Flat>(), boring_loader(), boring_loader());
  // One look sets the best, two more are without improvement.
  CHECK(trainer.current_epoch() == std::max<int64_t>(3, min_epochs));
}

TEST_CASE("A monitor that was never logged is an error that lists what was", "[trainer]") {
  TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  Trainer trainer(options,
                  {std::make_shared<lightning::EarlyStopping>(
                      lightning::EarlyStoppingOptions{.monitor = "val_los"})},
                  lightning::Loggers{});
  CHECK_THROWS_WITH(trainer.fit(std::make_shared<BoringModule>(), boring_loader(), boring_loader()),
                    Catch::Contains("val_los") && Catch::Contains("val_loss"));
}

TEST_CASE("ModelCheckpoint keeps the best and links to the best and the newest", "[trainer]") {
  class Scripted : public BoringModule {
   public:
    void validation_step(const lightning::Batch&, int64_t) override {
      const double values[] = {3.0, 1.0, 2.0, 5.0};
      log("score", values[current_epoch()]);
    }
  };
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.max_epochs = 4;
  options.default_root_dir = folder.path();
  const auto checkpoint = std::make_shared<lightning::ModelCheckpoint>(
      lightning::ModelCheckpointOptions{.filename = "{epoch}-{score:.1f}",
                                        .monitor = "score",
                                        .save_top_k = 2,
                                        .save_last = true});
  Trainer trainer(options, {checkpoint}, lightning::Loggers{});
  trainer.fit(std::make_shared<Scripted>(), boring_loader(), boring_loader());

  const fs::path kept = trainer.run_dir() / "checkpoints";
  std::vector<std::string> names;
  for (const fs::path& path : lightning::list_checkpoints(kept)) names.push_back(path.filename());
  CHECK(names == std::vector<std::string>{"epoch=1-score=1.0.ckpt", "epoch=2-score=2.0.ckpt",
                                          "epoch=3-score=5.0.ckpt"});
  CHECK(fs::read_symlink(kept / "best.ckpt") == "epoch=1-score=1.0.ckpt");
  CHECK(fs::read_symlink(kept / "last.ckpt") == "epoch=3-score=5.0.ckpt");
  CHECK(checkpoint->best_model_score() == 1.0);
}

TEST_CASE("What a hook throws passes unchanged, and callbacks hear of it", "[trainer]") {
  struct Custom : std::runtime_error {
    using std::runtime_error::runtime_error;
  };
  class Throws : public BoringModule {
    void on_train_epoch_end() override { throw Custom("from a hook"); }
  };
  class Listens : public lightning::Callback {
   public:
    void on_exception(lightning::TrainerContext&, lightning::LightningModule&,
                      const std::exception& exception) override {
      heard = exception.what();
    }
    std::string heard;
  };
  TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  const auto callback = std::make_shared<Listens>();
  Trainer trainer(options, {callback}, lightning::Loggers{});
  CHECK_THROWS_AS(trainer.fit(std::make_shared<Throws>(), boring_loader()), Custom);
  CHECK(callback->heard == "from a hook");
}

TEST_CASE("What a module lacks is an error that says so", "[trainer]") {
  class NoStep : public lightning::LightningModule {
   public:
    NoStep() { layer_ = register_module("layer", torch::nn::Linear(2, 1)); }
    lightning::OptimizerList configure_optimizers() override {
      return std::make_shared<lightning::optim::SGD>(parameters(), torch::optim::SGDOptions(0.1));
    }

   private:
    torch::nn::Linear layer_{nullptr};
  };
  class NoOptimizer : public BoringModule {
    lightning::OptimizerList configure_optimizers() override { return {}; }
  };
  TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  Trainer trainer(options, {}, lightning::Loggers{});
  CHECK_THROWS_WITH(trainer.fit(std::make_shared<NoStep>(), boring_loader()),
                    Catch::Contains("training_step()"));
  CHECK_THROWS_WITH(trainer.fit(std::make_shared<NoOptimizer>(), boring_loader()),
                    Catch::Contains("configure_optimizers()"));
  CHECK_THROWS_WITH(trainer.fit(std::make_shared<BoringModule>()),
                    Catch::Contains("training data"));
}

TEST_CASE("log() outside the hooks that may log is an error", "[trainer]") {
  class LogsTooLate : public BoringModule {
    void on_fit_end() override { log("x", 1.0); }
  };
  TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  Trainer trainer(options, {}, lightning::Loggers{});
  CHECK_THROWS_WITH(trainer.fit(std::make_shared<LogsTooLate>(), boring_loader()),
                    Catch::Contains("\"x\""));
}

TEST_CASE("validate and test return the weighted means of each loader", "[trainer]") {
  class Means : public BoringModule {
    void validation_step(const lightning::Batch& batch, int64_t) override {
      log("mean_x", batch["x"].mean());
    }
  };
  // 5 rows in batches of 2: the last batch weighs half.
  const at::Tensor x =
      torch::tensor({{1.0, 1.0}, {2.0, 2.0}, {3.0, 3.0}, {4.0, 4.0}, {10.0, 10.0}});
  const auto data = std::make_shared<lightning::TensorDataset>(lightning::Batch({{"x", x}}));
  const auto loader =
      std::make_shared<lightning::DataLoader>(data, lightning::DataLoaderOptions{.batch_size = 2});
  Trainer trainer(quiet_options(), {}, lightning::Loggers{});
  const auto one = trainer.validate(std::make_shared<Means>(), loader);
  REQUIRE(one.size() == 1);
  CHECK(one[0].at("mean_x") == Approx(4.0));
  const auto two = trainer.validate(
      std::make_shared<Means>(),
      lightning::DataLoaders(std::vector<std::shared_ptr<lightning::DataLoader>>{loader, loader}));
  REQUIRE(two.size() == 2);
  CHECK(two[1].at("mean_x/dataloader_idx_1") == Approx(4.0));
}

TEST_CASE("64-true trains in float64 on float32 data", "[trainer]") {
  class Checks : public BoringModule {
   public:
    lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
      CHECK(batch["x"].scalar_type() == torch::kFloat64);
      return BoringModule::training_step(batch, index);
    }
  };
  TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  options.precision = "64-true";
  const auto module = std::make_shared<Checks>();
  Trainer trainer(options, {}, lightning::Loggers{});
  trainer.fit(module, boring_loader(), boring_loader());
  CHECK(module->layer->weight.scalar_type() == torch::kFloat64);
}

TEST_CASE("A model without configure_optimizers() trains with what the program names",
          "[trainer]") {
  class Plain : public lightning::LightningModule {
   public:
    lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
      return layer->forward(batch["x"]).square().mean();
    }
    torch::nn::Linear layer{register_module("layer", torch::nn::Linear(2, 1))};
  };
  TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  lightning::TrainerParts parts{.loggers = lightning::Loggers{}};
  CHECK_THROWS_WITH(Trainer(options, parts).fit(std::make_shared<Plain>(), boring_loader()),
                    Catch::Contains("configure_optimizers() gave no optimizer") &&
                        Catch::Contains("name one by the key optimizer"));

  parts.optimizers.lr_scheduler = "{class_path: StepLR, init_args: {gamma: 0.5}}";
  CHECK_THROWS_WITH(Trainer(options, parts).fit(std::make_shared<Plain>(), boring_loader()),
                    Catch::Contains("StepLR is named and no optimizer"));

  parts.optimizers.optimizer = "{class_path: SGD, init_args: {lr: 0.5}}";
  const auto rate_after_fit = [&] {
    Trainer trainer(options, parts);
    trainer.fit(std::make_shared<Plain>(), boring_loader());
    return trainer.optimizers().front().optimizer->param_groups().front().options().get_lr();
  };
  CHECK(rate_after_fit() == 0.125);  // two epochs
  // What is wrong with the data is no unknown number of steps.
  CHECK_THROWS_WITH(Trainer(options, parts).fit(std::make_shared<Plain>()),
                    Catch::Contains("there is no training data"));
  parts.optimizers.lr_scheduler = "LinearWarmupLR";
  CHECK(rate_after_fit() == 0.0);  // at the last of the fit's steps
}

TEST_CASE("The loss scaling of a program may skip steps whose gradients overflow", "[trainer]") {
  class Scaling : public lightning::Precision {
   public:
    explicit Scaling(at::Device device) : Precision(device) {}
    std::string_view name() const override { return "scaling"; }

   private:
    at::Tensor do_scale_loss(const at::Tensor& loss) const override { return loss * 2.0; }
    bool do_scales_loss() const override { return true; }
    at::Tensor do_unscale(const std::vector<at::Tensor>& gradients, const at::Tensor&) override {
      const bool overflows = num_steps_++ == 0;
      const double factor = overflows ? std::numeric_limits<double>::infinity() : 0.5;
      for (at::Tensor gradient : gradients) gradient.mul_(factor);
      return at::full({1}, overflows ? 1.0F : 0.0F);
    }
    int64_t num_steps_ = 0;
  };
  TrainerOptions options = quiet_options();
  options.max_steps = 3;
  lightning::TrainerParts parts{.loggers = lightning::Loggers{}};
  parts.precision = [](at::Device device) { return std::make_shared<Scaling>(device); };
  const auto module = std::make_shared<BoringModule>();
  const at::Tensor before = module->layer->weight.detach().clone();
  Trainer(options, parts).fit(module, boring_loader());
  CHECK(at::isfinite(module->layer->weight).all().item<bool>());
  CHECK_FALSE(at::equal(module->layer->weight, before));
}
