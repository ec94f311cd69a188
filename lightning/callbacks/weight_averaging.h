/// WeightAveraging and EMAWeightAveraging: train with one set of weights, validate and finish with
/// their average (docs/weight_averaging.md).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <ATen/core/Tensor.h>

#include <lightning/callbacks/callback.h>
#include <lightning/config/fields.h>
#include <lightning/util/export.h>

namespace lightning {

struct WeightAveragingOptions {
  /// Average floating-point buffers (BatchNorm's statistics) too; else the average takes those of
  /// its last update.
  bool use_buffers = true;
};
LIGHTNING_FIELDS(WeightAveragingOptions,
                 LIGHTNING_FIELD(use_buffers, "average buffers too, not only parameters"))

/// Averages the weights after each update that should_update() asks for: the first one copies them,
/// the n-th weighs all n alike. As in Lightning
///   - the batches of a validation, of the sanity check too, see the average;
///   - a checkpoint's weights are the average; the trained ones lie beside, and fit() resumes from
///     those exactly;
///   - after training the module has the average.
/// Before the first update there is no average, and everything is as without this callback.
///
/// The module's tensors stay the same ones, only their values change. An update costs one pass over
/// the weights and neither allocates nor waits for the device. Steps that loss scaling skips don't
/// count (16-mixed): which they are is known on the device alone. Memory: the weights once more.
/// Every rank makes the same updates of the same weights, so nothing is sent. One averaging
/// callback a run; ConfigError for more.
class LIGHTNING_API WeightAveraging : public Callback {
 public:
  using Options = WeightAveragingOptions;
  explicit WeightAveraging(const WeightAveragingOptions& options = {});
  ~WeightAveraging() override;

  /// Whether to update: after each optimizer step with the index of that step, after each epoch
  /// with the index of that epoch, the other empty; both count from 0. Must be the same on every
  /// rank. By default after each step.
  virtual bool should_update(std::optional<int64_t> step_idx,
                             std::optional<int64_t> epoch_idx) const;
  /// Updates so far, those of skipped steps included.
  int64_t updates() const { return updates_; }

  /// Throws ConfigError when no update can come before the fit ends after so many steps, or epochs
  /// that were begun; nothing: unknown. The Trainer calls it before the first step.
  virtual void check_plan(std::optional<int64_t> steps, std::optional<int64_t> epochs) const;

  void setup(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void on_fit_start(TrainerContext& trainer, LightningModule& module) override;
  void on_after_optimizer_step(TrainerContext& trainer, LightningModule& module,
                               const OptimizerStep& step) override;
  void on_train_batch_end(TrainerContext& trainer, LightningModule& module,
                          const StepOutput& output, const Batch& batch, int64_t batch_idx) override;
  void on_train_epoch_end(TrainerContext& trainer, LightningModule& module) override;
  void on_train_end(TrainerContext& trainer, LightningModule& module) override;
  void on_validation_epoch_start(TrainerContext& trainer, LightningModule& module) override;
  void on_validation_epoch_end(TrainerContext& trainer, LightningModule& module) override;
  void on_exception(TrainerContext& trainer, LightningModule& module,
                    const std::exception& exception) override;

  std::string state_key() const override { return "WeightAveraging"; }
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;
  void on_save_checkpoint(TrainerContext& trainer, LightningModule& module,
                          Checkpoint& checkpoint) override;
  void on_save_weights(TrainerContext& trainer, LightningModule& module,
                       Checkpoint& checkpoint) override;
  void on_load_checkpoint(TrainerContext& trainer, LightningModule& module,
                          const Checkpoint& checkpoint) override;

 protected:
  /// The average moves by 1 - decay of what separates it from the weights, not by 1 / n. For
  /// messages: the name of the class.
  WeightAveraging(const WeightAveragingOptions& options, std::string_view class_name, double decay);

 private:
  void attach(const LightningModule& module);
  void update();
  /// As update(), when it is known on the device only how many updates counted.
  void update_on_device();
  void exchange();

  WeightAveragingOptions options_;
  std::string class_name_;
  std::optional<double> decay_;

  int64_t updates_ = 0;
  int64_t latest_update_step_ = 0;    // global_step of it; as Lightning's not before the first step
  int64_t latest_update_epoch_ = -1;  // index
  /// Updates of steps that were made, one element on the device; undefined while all were.
  at::Tensor counted_;
  /// Of the present batch: not 0 when a step was made; undefined: certainly.
  at::Tensor made_;
  bool certainly_made_ = false;
  /// The average, or the trained weights while the module has the average.
  class Beside;
  std::unique_ptr<Beside> beside_;
  bool module_has_average_ = false;
};

struct EMAWeightAveragingOptions {
  /// How much of the average stays in an update; from 0 to 1.
  double decay = 0.999;
  /// See WeightAveragingOptions.
  bool use_buffers = true;
  /// After the steps whose index, from 0, is a multiple of this; 0: after no step.
  int64_t update_every_n_steps = 1;
  /// Index of the first step that may be followed by an update.
  std::optional<int64_t> update_starting_at_step = std::nullopt;
  /// Also after each epoch, beginning with that of this index; null: after steps only.
  std::optional<int64_t> update_starting_at_epoch = std::nullopt;
};
LIGHTNING_FIELDS(EMAWeightAveragingOptions,
                 LIGHTNING_FIELD(decay, "how much of the average stays in an update"),
                 LIGHTNING_FIELD(use_buffers, "average buffers too, not only parameters"),
                 LIGHTNING_FIELD(update_every_n_steps, "steps between updates; 0: after no step"),
                 LIGHTNING_FIELD(update_starting_at_step, "index of the first step, from 0"),
                 LIGHTNING_FIELD(update_starting_at_epoch,
                                 "also after each epoch, from this index on"))

/// Exponential moving average: average = decay * average + (1 - decay) * weights.
class LIGHTNING_API EMAWeightAveraging : public WeightAveraging {
 public:
  using Options = EMAWeightAveragingOptions;
  /// Throws ConfigError for values out of range, and when no update could ever come.
  explicit EMAWeightAveraging(const EMAWeightAveragingOptions& options = {});

  bool should_update(std::optional<int64_t> step_idx,
                     std::optional<int64_t> epoch_idx) const override;
  void check_plan(std::optional<int64_t> steps, std::optional<int64_t> epochs) const override;
  std::string state_key() const override { return "EMAWeightAveraging"; }

 private:
  EMAWeightAveragingOptions options_;
};

}  // namespace lightning
