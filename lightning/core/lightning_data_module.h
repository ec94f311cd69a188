/// LightningDataModule: everything about the data of a run, in one reusable object.
#pragma once

#include <lightning/config/node.h>
#include <lightning/config/options.h>
#include <lightning/core/trainer_context.h>
#include <lightning/data/data_loader.h>
#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

class LIGHTNING_API LightningDataModule {
 public:
  LightningDataModule();
  virtual ~LightningDataModule();
  LightningDataModule(const LightningDataModule&) = delete;
  LightningDataModule& operator=(const LightningDataModule&) = delete;

  /// Downloads, unpacks: on one rank of each node, before setup(); on rank 0 alone with
  /// trainer.prepare_data_per_node: false.
  virtual void prepare_data() {}
  /// Makes the data sets: on every rank. The loaders are requested afterwards.
  virtual void setup(Stage /*stage*/) {}
  virtual void teardown(Stage /*stage*/) {}
  virtual DataLoaders train_dataloader() { return {}; }
  virtual DataLoaders val_dataloader() { return {}; }
  virtual DataLoaders test_dataloader() { return {}; }
  virtual DataLoaders predict_dataloader() { return {}; }

  /// Custom state in checkpoints (the loaders' positions are saved without it).
  virtual void state_dict(StateDict& /*state*/) {}
  virtual void load_state_dict(const StateDict& /*state*/) {}
  virtual void on_exception(const std::exception& /*exception*/) {}

  /// Throws ConfigError when no Trainer runs this data module.
  TrainerContext& trainer() const;

  /// See LightningModule::save_hyperparameters().
  template <typename Options>
  void save_hyperparameters(const Options& options) {
    hyperparameters_ = config::to_node(options);
  }
  const config::ConfigNode& hyperparameters() const { return hyperparameters_; }

  /// For the Trainer.
  void attach(TrainerContext* trainer) { trainer_ = trainer; }

 private:
  TrainerContext* trainer_ = nullptr;
  config::ConfigNode hyperparameters_;
};

}  // namespace lightning
