/// LightningDataModule: everything about the data of a run, in one reusable object.
#pragma once

#include <c10/core/Device.h>

#include <lightning/config/node.h>
#include <lightning/config/options.h>
#include <lightning/core/trainer_context.h>
#include <lightning/data/batch.h>
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

  // ---- each batch on its way to a step; a hook that is overridden here runs in place of the
  // module's of the same name. A base body leaves the batch to the module's hook, which then runs
  // on what an override that calls it returns.
  virtual Batch on_before_batch_transfer(Batch batch);
  /// Must return the batch on `device`: batch.to(device, /*non_blocking=*/true).
  virtual Batch transfer_batch_to_device(Batch batch, at::Device device);
  virtual Batch on_after_batch_transfer(Batch batch);

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
  /// Whether the base class's own body of a transfer hook answered.
  bool base_body_ran() const { return base_body_ran_; }
  void reset_base_body() { base_body_ran_ = false; }

 private:
  bool base_body_ran_ = false;
  TrainerContext* trainer_ = nullptr;
  config::ConfigNode hyperparameters_;
};

}  // namespace lightning
