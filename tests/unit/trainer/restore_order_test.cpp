// What a callback adds before a fit's optimizers are restored, and what it changes for the windows
// to come, is there again after a resume.
#include <catch2/catch.hpp>

#include <filesystem>
#include <string>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/temporary_folder.h"

namespace {

/// Trains the bias from the start and the weight as a group of its own from on_fit_start() on.
class AddsGroup : public lightning::Callback {
  void on_fit_start(lightning::TrainerContext& trainer,
                    lightning::LightningModule& module) override {
    auto& boring = dynamic_cast<BoringModule&>(module);
    torch::optim::OptimizerParamGroup group({boring.layer->weight});
    group.set_options(std::make_unique<torch::optim::SGDOptions>(0.02));
    trainer.optimizers().front().optimizer->add_param_group(group);
  }
};

class BiasFirst : public BoringModule {
 public:
  lightning::OptimizerList configure_optimizers() override {
    auto optimizer = std::make_shared<lightning::optim::SGD>(std::vector<at::Tensor>{layer->bias},
                                                             torch::optim::SGDOptions(0.1));
    return lightning::OptimizerConfig{
        .optimizer = optimizer,
        .lr_scheduler = {
            {.scheduler = std::make_shared<lightning::optim::StepLR>(optimizer, 1, 0.5),
             .interval = lightning::Interval::kStep}}};
  }
  void on_train_batch_end(const lightning::StepOutput&, const lightning::Batch&, int64_t) override {
    rates.clear();
    for (const auto& group : trainer().optimizers().front().optimizer->param_groups()) {
      rates.push_back(group.options().get_lr());
    }
  }
  std::vector<double> rates;
};

/// One batch a step in the first epoch, then two.
class Doubles : public lightning::Callback {
  void on_train_epoch_start(lightning::TrainerContext& trainer,
                            lightning::LightningModule&) override {
    if (trainer.current_epoch() == 1) trainer.set_accumulate_grad_batches(2);
  }
};

struct Outcome {
  at::Tensor weights;
  int64_t steps = 0;
  std::vector<double> rates;
};

template <typename Module>
Outcome fit(const std::filesystem::path& folder, lightning::Callbacks callbacks, int64_t max_steps,
            bool resume) {
  lightning::TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.default_root_dir = folder;
  options.max_epochs = 3;
  options.max_steps = max_steps;
  callbacks.push_back(std::make_shared<lightning::ModelCheckpoint>(
      lightning::ModelCheckpointOptions{.every_n_train_steps = 1}));
  torch::manual_seed(3);
  const auto module = std::make_shared<Module>();
  lightning::Trainer trainer(options, std::move(callbacks), lightning::Loggers{});
  trainer.fit(module, boring_loader(), {}, {.ckpt_path = resume ? "last" : ""});
  Outcome outcome = {torch::cat({module->layer->weight.detach().flatten(),
                                 module->layer->bias.detach().flatten()}),
                     trainer.global_step(),
                     {}};
  if constexpr (std::is_same_v<Module, BiasFirst>) outcome.rates = module->rates;
  return outcome;
}

}  // namespace

TEST_CASE("A callback adds its parameter groups before the optimizer is restored", "[trainer]") {
  const auto callbacks = [] { return lightning::Callbacks{std::make_shared<AddsGroup>()}; };
  const lightning_tests::TemporaryFolder whole_folder, folder;
  const Outcome whole = fit<BiasFirst>(whole_folder.path(), callbacks(), 5, false);
  // The late group follows the schedule from then on.
  REQUIRE(whole.rates.size() == 2);
  CHECK(whole.rates[0] == Approx(0.1 / 32));
  CHECK(whole.rates[1] == Approx(0.02 / 32));
  fit<BiasFirst>(folder.path(), callbacks(), 2, false);
  const Outcome resumed = fit<BiasFirst>(folder.path(), callbacks(), 5, true);
  CHECK(torch::equal(resumed.weights, whole.weights));
  CHECK(resumed.rates == whole.rates);
}

TEST_CASE("accumulate_grad_batches that a callback changed holds after a resume", "[trainer]") {
  const auto callbacks = [] { return lightning::Callbacks{std::make_shared<Doubles>()}; };
  const lightning_tests::TemporaryFolder whole_folder, folder;
  // 3 steps, then 2 and 2: a window of two batches and a short one in each epoch.
  const Outcome whole = fit<BoringModule>(whole_folder.path(), callbacks(), -1, false);
  CHECK(whole.steps == 7);
  fit<BoringModule>(folder.path(), callbacks(), 4, false);
  const Outcome resumed = fit<BoringModule>(folder.path(), callbacks(), -1, true);
  CHECK(resumed.steps == 7);
  CHECK(torch::equal(resumed.weights, whole.weights));
}

TEST_CASE("Callbacks change what a checkpoint holds and see what it held", "[trainer]") {
  struct Signs : lightning::Callback {
    std::string found;
    void on_save_checkpoint(lightning::TrainerContext&, lightning::LightningModule&,
                            lightning::Checkpoint& checkpoint) override {
      checkpoint.state.set("signature", "signed");
    }
    void on_load_checkpoint(lightning::TrainerContext&, lightning::LightningModule&,
                            const lightning::Checkpoint& checkpoint) override {
      found = checkpoint.state.get<std::string>("signature");
    }
  };
  const lightning_tests::TemporaryFolder folder;
  fit<BoringModule>(folder.path(), {std::make_shared<Signs>()}, 2, false);
  const auto signs = std::make_shared<Signs>();
  fit<BoringModule>(folder.path(), {signs}, 4, true);
  CHECK(signs->found == "signed");
}
