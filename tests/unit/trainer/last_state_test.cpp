// The state with which a fit ends is on the disk, whatever ended it, and a fit resumes from it
// exactly.
#include <catch2/catch.hpp>

#include <lightning/callbacks/early_stopping.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/trainer/trainer.h>

#include "support/boring_module.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
using lightning::BatchLimit;
using lightning::ModelCheckpoint;
using lightning::ModelCheckpointOptions;
using lightning::Trainer;
using lightning::TrainerOptions;

/// Draws random numbers in its steps, its validations and at the ends of its epochs, and sums a
/// metric over each epoch.
class Drawing : public BoringModule {
 public:
  explicit Drawing(int64_t stop_step = 0) : stop_step_(stop_step) {}
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    const auto loss = (layer->forward(batch["x"]) + torch::randn({2, 1})).square().mean();
    log("train_loss", loss,
        {.on_step = true, .on_epoch = true, .reduce_fx = lightning::ReduceFx::kSum});
    if (global_step() + 1 == stop_step_) trainer().request_stop("enough");
    return loss;
  }
  void on_train_epoch_end() override { torch::randn({3}); }

 private:
  int64_t stop_step_;
};

struct Fit {
  at::Tensor weight;
  double epoch_sum;
  int64_t wait_count;
  std::string output;
  fs::path checkpoints;
};

/// Epochs of six batches.
Fit fit(TrainerOptions options, const fs::path& folder, const ModelCheckpointOptions& checkpoint,
        int64_t stop_step = 0, const std::string& ckpt_path = "") {
  options.enable_checkpointing = true;
  options.default_root_dir = folder;
  torch::manual_seed(3);
  const auto module = std::make_shared<Drawing>(stop_step);
  const auto stopping = std::make_shared<lightning::EarlyStopping>(
      lightning::EarlyStoppingOptions{.monitor = "train_loss_epoch", .patience = 99});
  const lightning_tests::CapturedStderr output;
  Trainer trainer(options, {stopping, std::make_shared<ModelCheckpoint>(checkpoint)},
                  lightning::Loggers{});
  trainer.fit(module, boring_loader(12, {.batch_size = 2, .shuffle = true}), boring_loader(),
              {.ckpt_path = ckpt_path});
  return {module->layer->weight.detach().clone(), trainer.callback_metrics().at("train_loss_epoch"),
          stopping->wait_count(), output.text(), trainer.run_dir() / "checkpoints"};
}

TrainerOptions for_epochs(int64_t max_epochs) {
  TrainerOptions options = quiet_options();
  options.max_epochs = max_epochs;
  return options;
}

}  // namespace

TEST_CASE("A fit that ends leaves its last state, and resumes from it bit by bit", "[trainer]") {
  struct Case {
    std::string what;
    TrainerOptions options;
    ModelCheckpointOptions checkpoint;
    int64_t stop_step = 0;
    std::string last;
  };
  std::vector<Case> cases;
  const auto add = [&](std::string what, std::string last, auto change) {
    Case one = {std::move(what), for_epochs(3), {}, 0, std::move(last)};
    change(one);
    cases.push_back(std::move(one));
  };
  const ModelCheckpointOptions never = {.every_n_epochs = 100};
  add("max_steps in an epoch", "epoch=1-step=8", [&](Case& one) { one.options.max_steps = 8; });
  add("max_steps, the interval never came", "epoch=1-step=8", [&](Case& one) {
    one.options.max_steps = 8;
    one.checkpoint = never;
  });
  add("max_epochs, the interval never came", "epoch=1-step=12", [&](Case& one) {
    one.options.max_epochs = 2;
    one.checkpoint = {.every_n_train_steps = 100};
  });
  add("max_epochs, a step after the last checkpoint", "epoch=0-step=6", [&](Case& one) {
    one.options.max_epochs = 1;
    one.checkpoint = {.every_n_train_steps = 5};
  });
  add("a stop request", "epoch=0-step=4", [&](Case& one) {
    one.stop_step = 4;
    one.options.limit_val_batches = 0;
    one.checkpoint = never;
  });
  add("a stop request in the second epoch", "epoch=1-step=11", [&](Case& one) {
    one.stop_step = 11;
    one.options.limit_val_batches = 0;
    one.checkpoint = {.every_n_train_steps = 100};
  });
  add("max_steps, written in the background", "epoch=1-step=8", [&](Case& one) {
    one.options.max_steps = 8;
    one.options.async_checkpointing = true;
    one.checkpoint = {.monitor = "train_loss_epoch", .every_n_epochs = 100};
  });
  add("max_steps, only the validation between was saved", "epoch=0-step=5", [&](Case& one) {
    one.options.max_steps = 5;
    one.options.val_check_interval = 0.5;
  });
  for (const Case& one : cases) {
    INFO(one.what);
    const lightning_tests::TemporaryFolder folder;
    const lightning_tests::TemporaryFolder whole_folder;
    TrainerOptions whole = one.options;
    // The epoch that was cut short is the last one.
    whole.max_epochs = one.options.max_epochs == 3 ? 2 : 3;
    whole.max_steps = -1;
    const Fit expected = fit(whole, whole_folder.path(), one.checkpoint);

    const Fit ended = fit(one.options, folder.path(), one.checkpoint, one.stop_step);
    CHECK(fs::read_symlink(ended.checkpoints / "last.ckpt") == one.last + ".ckpt");
    const Fit resumed = fit(whole, folder.path(), one.checkpoint, 0, "last");
    CHECK(at::equal(resumed.weight, expected.weight));
    CHECK(resumed.epoch_sum == expected.epoch_sum);
    CHECK(resumed.wait_count == expected.wait_count);
  }
}

TEST_CASE("max_time leaves the last state too", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.val_check_interval = 0.5;
  options.enable_checkpointing = true;
  options.default_root_dir = folder.path();
  options.max_time = std::chrono::seconds(1);
  Trainer trainer(options,
                  {std::make_shared<ModelCheckpoint>(
                      ModelCheckpointOptions{.every_n_train_steps = 1'000'000'000})},
                  lightning::Loggers{});
  trainer.fit(std::make_shared<BoringModule>(), boring_loader(), boring_loader());
  const auto checkpoints = lightning::list_checkpoints(trainer.run_dir() / "checkpoints");
  REQUIRE(checkpoints.size() == 1);
  CHECK_THAT(checkpoints[0].string(),
             Catch::Contains("step=" + std::to_string(trainer.global_step()) + ".ckpt"));
}

TEST_CASE("A last state that isn't kept is one warning that names the option", "[trainer]") {
  const auto output = [](const ModelCheckpointOptions& checkpoint) {
    const lightning_tests::TemporaryFolder folder;
    return fit(for_epochs(2), folder.path(), checkpoint).output;
  };
  const auto warns = [](const std::string& text, const std::string& option) {
    return text.find("no checkpoint has the last state, after step 12") != std::string::npos &&
           text.find("HINT: set " + option) != std::string::npos;
  };
  CHECK(warns(output({.save_top_k = 0}), "save_last: true"));
  CHECK(warns(output({.save_weights_only = true}), "save_weights_only: false"));
  // Of steps that grow, the first is the best.
  class Grows : public BoringModule {
    void validation_step(const lightning::Batch&, int64_t) override {
      log("score", static_cast<double>(global_step()));
    }
  };
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = for_epochs(2);
  options.enable_checkpointing = true;
  options.default_root_dir = folder.path();
  const auto run = [&](bool save_last) {
    const lightning_tests::CapturedStderr captured;
    Trainer trainer(options,
                    {std::make_shared<ModelCheckpoint>(
                        ModelCheckpointOptions{.monitor = "score", .save_last = save_last})},
                    lightning::Loggers{});
    trainer.fit(std::make_shared<Grows>(), boring_loader(12), boring_loader());
    return captured.text();
  };
  CHECK(warns(run(false), "save_last: true"));
  CHECK_THAT(run(true), !Catch::Contains("no checkpoint has"));
}

TEST_CASE("A fit without a step, or whose last step was saved, writes nothing more", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  class Counts : public lightning::Callback {
   public:
    void on_fit_end(lightning::TrainerContext& trainer, lightning::LightningModule&) override {
      count = lightning::list_checkpoints(trainer.run_dir() / "checkpoints").size();
    }
    size_t count = 0;
  };
  const auto written = [&](int64_t max_steps, const std::string& ckpt_path) {
    TrainerOptions options = quiet_options();
    options.enable_checkpointing = true;
    options.default_root_dir = folder.path();
    options.max_steps = max_steps;
    const auto counts = std::make_shared<Counts>();
    Trainer trainer(options,
                    {counts, std::make_shared<ModelCheckpoint>(ModelCheckpointOptions{
                                 .save_top_k = -1, .every_n_train_steps = 2})},
                    lightning::Loggers{});
    trainer.fit(std::make_shared<BoringModule>(), boring_loader(12), {}, {.ckpt_path = ckpt_path});
    return counts->count;
  };
  CHECK(written(4, "") == 2);
  CHECK(written(4, "last") == 2);
  CHECK(written(5, "last") == 3);
  CHECK(written(0, "") == 0);
}
