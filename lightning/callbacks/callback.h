/// Callback: code that observes training through hooks. Hooks have Lightning's names and order
/// (docs/hooks.md); callbacks run before the module's own hook, in the order they were given,
/// checkpoints last. Every rank runs every hook.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include <lightning/core/lightning_module.h>
#include <lightning/core/lightning_optimizer.h>
#include <lightning/core/trainer_context.h>
#include <lightning/data/batch.h>
#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

/// A metric that a callback can't do without.
struct MetricDemand {
  std::string name;            // "val_loss"
  std::string option;          // where it is asked for: "EarlyStopping: monitor"
  int64_t every_n_epochs = 1;  // the callback acts in every n-th epoch
};

struct Checkpoint;

class LIGHTNING_API Callback {
 public:
  virtual ~Callback();

  virtual void setup(TrainerContext&, LightningModule&, Stage) {}
  virtual void teardown(TrainerContext&, LightningModule&, Stage) {}
  virtual void on_fit_start(TrainerContext&, LightningModule&) {}
  virtual void on_fit_end(TrainerContext&, LightningModule&) {}
  virtual void on_sanity_check_start(TrainerContext&, LightningModule&) {}
  virtual void on_sanity_check_end(TrainerContext&, LightningModule&) {}
  virtual void on_train_start(TrainerContext&, LightningModule&) {}
  virtual void on_train_end(TrainerContext&, LightningModule&) {}
  virtual void on_train_epoch_start(TrainerContext&, LightningModule&) {}
  virtual void on_train_epoch_end(TrainerContext&, LightningModule&) {}
  virtual void on_train_batch_start(TrainerContext&, LightningModule&, const Batch&, int64_t) {}
  virtual void on_train_batch_end(TrainerContext&, LightningModule&, const StepOutput&,
                                  const Batch&, int64_t) {}
  virtual void on_validation_start(TrainerContext&, LightningModule&) {}
  virtual void on_validation_end(TrainerContext&, LightningModule&) {}
  virtual void on_validation_epoch_start(TrainerContext&, LightningModule&) {}
  virtual void on_validation_epoch_end(TrainerContext&, LightningModule&) {}
  virtual void on_validation_batch_start(TrainerContext&, LightningModule&, const Batch&, int64_t) {
  }
  virtual void on_validation_batch_end(TrainerContext&, LightningModule&, const Batch&, int64_t) {}
  virtual void on_test_start(TrainerContext&, LightningModule&) {}
  virtual void on_test_end(TrainerContext&, LightningModule&) {}
  virtual void on_test_epoch_start(TrainerContext&, LightningModule&) {}
  virtual void on_test_epoch_end(TrainerContext&, LightningModule&) {}
  virtual void on_test_batch_start(TrainerContext&, LightningModule&, const Batch&, int64_t) {}
  virtual void on_test_batch_end(TrainerContext&, LightningModule&, const Batch&, int64_t) {}
  virtual void on_predict_start(TrainerContext&, LightningModule&) {}
  virtual void on_predict_end(TrainerContext&, LightningModule&) {}
  virtual void on_predict_epoch_start(TrainerContext&, LightningModule&) {}
  virtual void on_predict_epoch_end(TrainerContext&, LightningModule&) {}
  virtual void on_predict_batch_start(TrainerContext&, LightningModule&, const Batch&, int64_t) {}
  virtual void on_predict_batch_end(TrainerContext&, LightningModule&, const Batch& /*outputs*/,
                                    const Batch& /*batch*/, int64_t) {}
  virtual void on_before_backward(TrainerContext&, LightningModule&, const at::Tensor& /*loss*/) {}
  virtual void on_after_backward(TrainerContext&, LightningModule&) {}
  virtual void on_before_zero_grad(TrainerContext&, LightningModule&, torch::optim::Optimizer&) {}
  virtual void on_before_optimizer_step(TrainerContext&, LightningModule&,
                                        torch::optim::Optimizer&) {}
  /// No sync, unless it reads OptimizerStep::skipped.
  virtual void on_after_optimizer_step(TrainerContext&, LightningModule&, const OptimizerStep&) {}
  virtual void on_exception(TrainerContext&, LightningModule&, const std::exception&) {}

  // ---- checkpoints
  /// Key of this callback's state in a checkpoint, of any characters. It must differ between the
  /// callbacks of one run (ConfigError before the first step), so it holds the options that tell
  /// two of a class apart. Empty (the default): no state is saved.
  virtual std::string state_key() const { return {}; }
  /// State belongs to one fit: before setup() of a second one, load_state_dict() gets what
  /// state_dict() was before the first (unless that is empty), and after it the state of the
  /// checkpoint when a run is resumed. State without a key is reset in setup().
  virtual StateDict state_dict() const { return {}; }
  virtual void load_state_dict(const StateDict&) {}
  /// Of a checkpoint that a fit can resume from, when it is complete: may change what is in it.
  /// Every rank calls it, rank 0's is written. Tensors are shared with the run until it returns
  /// from the safe point: replace them, don't change them. Of an epoch that was cut short it sees
  /// the checkpoint as it is written, with the state of before the epoch's end hooks.
  virtual void on_save_checkpoint(TrainerContext&, LightningModule&, Checkpoint&) {}
  /// Of a checkpoint of weights only: may replace them by others.
  virtual void on_save_weights(TrainerContext&, LightningModule&, Checkpoint&) {}
  /// When a fit resumes: after the weights are loaded, before load_state_dict() of any callback.
  virtual void on_load_checkpoint(TrainerContext&, LightningModule&, const Checkpoint&) {}
  /// Acts on metrics, so it runs after the module's own epoch-end hook (EarlyStopping).
  virtual bool monitors() const { return false; }
  /// The metrics that must have been logged when this callback acts. Their names are checked as
  /// soon as they can be known: after the sanity check, a validation, or the first epoch.
  virtual std::vector<MetricDemand> required_metrics() const { return {}; }
  /// Writes checkpoints, so it runs after all others and sees their final state.
  virtual bool writes_checkpoints() const { return false; }
};

}  // namespace lightning
