// reload_dataloaders_every_n_epochs, and transfer hooks of the data module.
#include <catch2/catch.hpp>

#include <string>
#include <utility>
#include <vector>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/core/lightning_data_module.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/temporary_folder.h"

namespace {

using lightning::Batch;
using lightning::Trainer;

/// Data of another kind for each epoch in which it is asked for: drawn at random, and of another
/// number of batches.
class ByEpoch : public lightning::LightningDataModule {
 public:
  lightning::DataLoaders train_dataloader() override {
    train_epochs.push_back(trainer().current_epoch());
    return loader();
  }
  lightning::DataLoaders val_dataloader() override {
    val_epochs.push_back(trainer().current_epoch());
    return loader();
  }
  std::vector<int64_t> train_epochs;
  std::vector<int64_t> val_epochs;

 private:
  lightning::DataLoaders loader() {
    const int64_t samples = 6 + 2 * trainer().current_epoch();
    lightning::DataLoaderOptions options;
    options.batch_size = 2;
    options.shuffle = true;
    options.seed = 3;
    return std::make_shared<lightning::DataLoader>(
        std::make_shared<lightning::TensorDataset>(Batch({{"x", torch::randn({samples, 2})}})),
        options);
  }
};

/// Draws random numbers itself, so that an extra draw of the loaders would be seen.
class Drawing : public BoringModule {
 public:
  lightning::StepOutput training_step(const Batch& batch, int64_t) override {
    return (layer->forward(batch["x"]) + torch::rand({})).square().mean();
  }
};

lightning::TrainerOptions reloading(int64_t every_n_epochs) {
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 6;
  options.reload_dataloaders_every_n_epochs = every_n_epochs;
  return options;
}

/// A run that reloads its loaders every two epochs resumes bitwise from each step and epoch.
template <typename Module>
void check_resumes() {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = reloading(2);
  options.enable_checkpointing = true;
  options.default_root_dir = folder.path() / "whole";
  const auto fit = [&](const lightning::Callbacks& callbacks, const std::string& ckpt_path) {
    torch::manual_seed(9);
    auto module = std::make_shared<Module>();
    auto data = std::make_shared<ByEpoch>();
    Trainer trainer(options, callbacks, lightning::Loggers{});
    trainer.fit(module, data, {.ckpt_path = ckpt_path});
    CHECK(trainer.global_step() == 30);
    return std::pair(module, data);
  };
  const std::filesystem::path checkpoints = folder.path() / "checkpoints";
  const auto [whole, data] =
      fit({std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{
               .dirpath = checkpoints, .save_top_k = -1, .every_n_train_steps = 1}),
           std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{
               .dirpath = folder.path() / "epochs", .save_top_k = -1})},
          "");
  options.enable_checkpointing = false;
  int64_t resumed = 0;
  for (const auto& from : {checkpoints, folder.path() / "epochs"}) {
    for (const auto& entry : std::filesystem::directory_iterator(from)) {
      if (entry.is_symlink() || entry.path().extension() != ".ckpt") continue;
      INFO(entry.path());
      options.default_root_dir = folder.path() / ("resumed_" + std::to_string(resumed++));
      const auto [module, asked] = fit({}, entry.path().string());
      CHECK(at::equal(module->layer->weight, whole->layer->weight));
      CHECK(at::equal(module->layer->bias, whole->layer->bias));
      for (const int64_t epoch : asked->train_epochs) CHECK(epoch % 2 == 0);
    }
  }
  CHECK(resumed == 36);
}

}  // namespace

TEST_CASE("reload_dataloaders_every_n_epochs asks for the loaders again", "[trainer]") {
  using Epochs = std::vector<int64_t>;
  const auto epochs = [](int64_t every_n_epochs) {
    const auto data = std::make_shared<ByEpoch>();
    Trainer trainer(reloading(every_n_epochs), {}, lightning::Loggers{});
    trainer.fit(std::make_shared<BoringModule>(), data);
    CHECK(data->val_epochs == data->train_epochs);
    return std::pair(data->train_epochs, trainer.global_step());
  };
  CHECK(epochs(0) == std::pair(Epochs{0}, int64_t{18}));
  CHECK(epochs(2) == std::pair(Epochs{0, 2, 4}, int64_t{2 * (3 + 5 + 7)}));
  CHECK(epochs(1) == std::pair(Epochs{0, 1, 2, 3, 4, 5}, int64_t{3 + 4 + 5 + 6 + 7 + 8}));
  CHECK(epochs(10).first == Epochs{0});
}

TEST_CASE("Loaders that were given to fit() are not asked for again", "[trainer]") {
  class Asked : public BoringModule {
   public:
    lightning::DataLoaders train_dataloader() override {
      ++asked;
      return boring_loader();
    }
    int64_t asked = 0;
  };
  const auto module = std::make_shared<Asked>();
  Trainer(reloading(1), {}, lightning::Loggers{}).fit(module, boring_loader());
  CHECK(module->asked == 0);
  Trainer(reloading(1), {}, lightning::Loggers{}).fit(module);
  CHECK(module->asked == 6);
}

// Lightning's counts from the epoch in which the run resumed.
TEST_CASE("A run that reloads its loaders resumes bitwise (pain #21492)", "[trainer]") {
  check_resumes<Drawing>();
}

TEST_CASE("It does so with a module that counts the run's steps in setup()", "[trainer]") {
  class Counting : public Drawing {
   public:
    void setup(lightning::Stage) override { trainer().estimated_stepping_batches(); }
  };
  check_resumes<Counting>();
}

TEST_CASE("A module that does without the number of steps still needs data", "[trainer]") {
  class Catching : public BoringModule {
   public:
    lightning::OptimizerList configure_optimizers() override {
      CHECK_THROWS_AS(trainer().estimated_stepping_batches(), lightning::ConfigError);
      return BoringModule::configure_optimizers();
    }
  };
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  Trainer trainer(options, {}, lightning::Loggers{});
  CHECK_THROWS_WITH(trainer.fit(std::make_shared<Catching>()),
                    Catch::Contains("there is no training data"));
}

TEST_CASE("A transfer hook of the data module that calls the base leaves the rest to the module's",
          "[trainer]") {
  class Data : public lightning::LightningDataModule {
   public:
    lightning::DataLoaders train_dataloader() override { return boring_loader(); }
    Batch on_after_batch_transfer(Batch batch) override {
      batch.set("by_data", torch::ones({}));
      return LightningDataModule::on_after_batch_transfer(std::move(batch));
    }
  };
  class Module : public BoringModule {
   public:
    Batch on_after_batch_transfer(Batch batch) override {
      CHECK(batch.contains("by_data"));
      batch.set("by_module", torch::ones({}));
      return batch;
    }
    lightning::StepOutput training_step(const Batch& batch, int64_t index) override {
      both = batch.contains("by_data") && batch.contains("by_module");
      return BoringModule::training_step(batch, index);
    }
    bool both = false;
  };
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  const auto module = std::make_shared<Module>();
  Trainer(options, {}, lightning::Loggers{}).fit(module, std::make_shared<Data>());
  CHECK(module->both);
}
