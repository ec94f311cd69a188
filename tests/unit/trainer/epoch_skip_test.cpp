// TrainerContext::skip_rest_of_epoch(): on_train_batch_start() ends the epoch.
#include <catch2/catch.hpp>

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/metrics/aggregation.h>
#include <lightning/optim/lr_scheduler.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

using lightning::Batch;
using lightning::ConfigError;
using lightning::Trainer;

/// An epoch has four batches; skips where `skips` says so, and notes what ran.
class Skipping : public BoringModule {
 public:
  using Place = std::pair<int64_t, int64_t>;  // epoch and batch
  explicit Skipping(std::function<bool(int64_t, int64_t)> skips) : skips_(std::move(skips)) {}

  void on_train_batch_start(const Batch&, int64_t index) override {
    if (skips_(current_epoch(), index)) trainer().skip_rest_of_epoch();
  }
  lightning::StepOutput training_step(const Batch& batch, int64_t index) override {
    trained.emplace_back(current_epoch(), index);
    return BoringModule::training_step(batch, index);
  }
  void on_train_epoch_end() override {
    rates.push_back(trainer().optimizers()[0].optimizer->param_groups()[0].options().get_lr());
    ended.emplace_back(current_epoch(), global_step());
  }
  void on_validation_start() override { validated.push_back(current_epoch()); }
  lightning::OptimizerList configure_optimizers() override {
    auto optimizer =
        std::make_shared<lightning::optim::SGD>(parameters(), torch::optim::SGDOptions(0.1));
    return lightning::OptimizerConfig{
        .optimizer = optimizer,
        .lr_scheduler = std::make_shared<lightning::optim::StepLR>(optimizer, 1, 0.5)};
  }

  std::vector<Place> trained;
  std::vector<Place> ended;  // epoch and step
  std::vector<double> rates;
  std::vector<int64_t> validated;

 private:
  std::function<bool(int64_t, int64_t)> skips_;
};

/// The second batch of each even epoch.
bool of_even_epochs(int64_t epoch, int64_t index) { return epoch % 2 == 0 && index == 1; }

lightning::TrainerOptions skip_options(int64_t epochs) {
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = epochs;
  options.num_sanity_val_steps = 0;
  return options;
}

/// A fit of a module whose weights are the same each time; resumes from `ckpt_path`.
std::shared_ptr<Skipping> fit(const lightning::TrainerOptions& options,
                              std::function<bool(int64_t, int64_t)> skips,
                              const lightning::Callbacks& callbacks = {},
                              const std::string& ckpt_path = "") {
  torch::manual_seed(3);
  auto module = std::make_shared<Skipping>(std::move(skips));
  lightning::DataLoaderOptions shuffled;
  shuffled.batch_size = 2;
  shuffled.shuffle = true;
  shuffled.seed = 5;
  Trainer trainer(options, callbacks, lightning::Loggers{});
  trainer.fit(module, boring_loader(8, shuffled), boring_loader(2), {.ckpt_path = ckpt_path});
  return module;
}

}  // namespace

TEST_CASE("A skipped epoch is a completed one", "[trainer]") {
  const auto module = fit(skip_options(3), of_even_epochs);
  CHECK(module->trained ==
        std::vector<Skipping::Place>{{0, 0}, {1, 0}, {1, 1}, {1, 2}, {1, 3}, {2, 0}});
  CHECK(module->ended == std::vector<Skipping::Place>{{0, 1}, {1, 5}, {2, 6}});
  // The schedule has counted each of them once; validations come with last batches.
  REQUIRE(module->rates.size() == 3);
  CHECK(module->rates[0] == Approx(0.05));
  CHECK(module->rates[2] == Approx(0.0125));
  CHECK(module->validated == std::vector<int64_t>{1});
}

TEST_CASE("A callback may skip, and all hooks of the batch's start still run", "[trainer]") {
  class First : public lightning::Callback {
   public:
    void on_train_batch_start(lightning::TrainerContext& trainer, lightning::LightningModule&,
                              const Batch&, int64_t index) override {
      if (index == 2) trainer.skip_rest_of_epoch();
    }
  };
  class Second : public lightning::Callback {
   public:
    void on_train_batch_start(lightning::TrainerContext&, lightning::LightningModule&, const Batch&,
                              int64_t) override {
      ++starts;
    }
    void on_train_batch_end(lightning::TrainerContext&, lightning::LightningModule&,
                            const lightning::StepOutput&, const Batch&, int64_t) override {
      ++ends;
    }
    int64_t starts = 0;
    int64_t ends = 0;
  };
  const auto second = std::make_shared<Second>();
  const auto module = fit(skip_options(2), [](int64_t, int64_t) { return false; },
                          {std::make_shared<First>(), second});
  CHECK(module->trained.size() == 4);
  CHECK(second->starts == 6);
  CHECK(second->ends == 4);
}

TEST_CASE("A window that a skip breaks off is dropped", "[trainer]") {
  lightning::TrainerOptions accumulate = skip_options(2);
  accumulate.accumulate_grad_batches = 2;
  // Epoch 0 ends in the middle of its second window, epoch 1 before its first batch.
  const auto skips = [](int64_t epoch, int64_t index) { return epoch == 0 ? index == 3 : true; };
  const auto module = fit(accumulate, skips);
  CHECK(module->ended == std::vector<Skipping::Place>{{0, 1}, {1, 1}});
  // The weights are those of the first window alone.
  accumulate.max_steps = 1;
  const auto expected = fit(accumulate, [](int64_t, int64_t) { return false; });
  CHECK(at::equal(module->layer->weight, expected->layer->weight));
  // And the next window has nothing of it.
  lightning::TrainerOptions longer = accumulate;
  longer.max_steps = -1;
  longer.max_epochs = 2;
  const auto early = [](int64_t epoch, int64_t index) { return epoch == 0 && index == 2; };
  const auto late = [](int64_t epoch, int64_t index) { return epoch == 0 && index == 3; };
  CHECK(at::equal(fit(longer, early)->layer->weight, fit(longer, late)->layer->weight));
}

TEST_CASE("The epoch's value replaces one of a step that a skip left out", "[trainer]") {
  /// Reads the metrics in every batch, as rank 0 alone does for a schedule that watches one.
  class Reads : public lightning::Callback {
   public:
    void on_train_batch_end(lightning::TrainerContext& trainer, lightning::LightningModule&,
                            const lightning::StepOutput&, const Batch&, int64_t) override {
      latest = trainer.callback_metrics().at("index");
      CHECK(trainer.metric_step("index") == 1);
    }
    void on_train_epoch_end(lightning::TrainerContext& trainer,
                            lightning::LightningModule&) override {
      of_epoch = trainer.callback_metrics().at("index");
      CHECK(trainer.metric_step("index") == 0);
    }
    bool monitors() const override { return true; }
    double latest = 0.0;
    double of_epoch = 0.0;
  };
  class Logs : public Skipping {
   public:
    using Skipping::Skipping;
    lightning::StepOutput training_step(const Batch& batch, int64_t index) override {
      mean->update(static_cast<double>(index));
      log("index", mean, {.on_step = true, .on_epoch = true});
      return Skipping::training_step(batch, index);
    }
    std::shared_ptr<lightning::metrics::MeanMetric> mean =
        register_metric("index", std::make_shared<lightning::metrics::MeanMetric>());
  };
  lightning::TrainerOptions options = skip_options(1);
  options.accumulate_grad_batches = 4;
  const auto reads = std::make_shared<Reads>();
  const auto module = std::make_shared<Logs>([](int64_t, int64_t index) { return index == 2; });
  Trainer trainer(options, {reads}, lightning::Loggers{});
  trainer.fit(module, boring_loader(8));
  CHECK(module->trained.size() == 2);
  CHECK(trainer.global_step() == 0);
  CHECK(reads->latest == 1.0);
  CHECK(reads->of_epoch == 0.5);
}

TEST_CASE("A run with skipped epochs resumes bitwise from each of its checkpoints", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions writing = skip_options(4);
  writing.enable_checkpointing = true;
  writing.default_root_dir = folder.path() / "whole";
  const auto checkpoint = [&](const std::filesystem::path& dirpath) {
    return std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{
        .dirpath = dirpath, .save_top_k = -1, .every_n_train_steps = 1});
  };
  const auto at_epochs = std::make_shared<lightning::ModelCheckpoint>(
      lightning::ModelCheckpointOptions{.dirpath = folder.path() / "epochs", .save_top_k = -1});
  const auto whole = fit(writing, of_even_epochs, {checkpoint(folder.path() / "steps"), at_epochs});
  int64_t resumed = 0;
  for (const char* kind : {"steps", "epochs"}) {
    for (const auto& entry : std::filesystem::directory_iterator(folder.path() / kind)) {
      if (entry.is_symlink() || entry.path().extension() != ".ckpt") continue;
      INFO(entry.path());
      writing.default_root_dir = folder.path() / ("resumed_" + std::to_string(resumed++));
      writing.enable_checkpointing = false;
      const auto module = fit(writing, of_even_epochs, {}, entry.path().string());
      CHECK(at::equal(module->layer->weight, whole->layer->weight));
      CHECK(at::equal(module->layer->bias, whole->layer->bias));
      CHECK((module->ended.empty() || module->ended.back() == whole->ended.back()));
      CHECK((module->rates.empty() || module->rates.back() == whole->rates.back()));
    }
  }
  CHECK(resumed >= 10);
}

TEST_CASE("An epoch that is skipped before its first batch is no empty data set", "[trainer]") {
  const lightning_tests::CapturedStderr output;
  const auto module = fit(skip_options(2), [](int64_t, int64_t) { return true; });
  CHECK(module->trained.empty());
  CHECK(module->ended.size() == 2);
  const std::string text = output.text();
  CHECK_THAT(text, Catch::Contains("epoch 0 was skipped before its first batch"));
  CHECK(text.find("raise that limit") == std::string::npos);
}

TEST_CASE("skip_rest_of_epoch() outside of on_train_batch_start() is an error", "[trainer]") {
  class Wrong : public BoringModule {
   public:
    void on_train_batch_end(const lightning::StepOutput&, const Batch&, int64_t) override {
      trainer().skip_rest_of_epoch();
    }
  };
  Trainer trainer(skip_options(1), {}, lightning::Loggers{});
  CHECK_THROWS_WITH(trainer.fit(std::make_shared<Wrong>(), boring_loader()),
                    Catch::Contains("skip_rest_of_epoch() was called outside of "
                                    "on_train_batch_start()") &&
                        Catch::Contains("HINT"));
  CHECK_THROWS_AS(trainer.skip_rest_of_epoch(), ConfigError);
}
