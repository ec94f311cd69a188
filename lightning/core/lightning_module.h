/// LightningModule: a torch::nn::Module that also defines how it is trained. Subclass it, register
/// layers as in any module, override the steps you need and hand it to a Trainer as a shared_ptr.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <torch/nn/module.h>

#include <lightning/config/node.h>
#include <lightning/config/options.h>
#include <lightning/core/gradient_clip.h>
#include <lightning/core/lightning_optimizer.h>
#include <lightning/core/metric_log.h>
#include <lightning/core/optimizer_config.h>
#include <lightning/core/trainer_context.h>
#include <lightning/data/batch.h>
#include <lightning/data/data_loader.h>
#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

class MetricRegistry;

/// What log_dict() takes: a number, a tensor of one element, or a registered metric.
using LogValue = std::variant<double, at::Tensor, std::shared_ptr<metrics::Metric>>;

/// What training_step() returns.
struct LIGHTNING_API StepOutput {
  /// A scalar loss; the mean over the window's micro-batches is minimised. An undefined tensor
  /// leaves the batch out as skip() does, with a warning: it may be a value that was forgotten.
  StepOutput(at::Tensor loss_value) : loss(std::move(loss_value)) {}  // NOLINT: implicit on purpose
  /// A scalar loss with its weight (samples, tokens): the weighted mean over all micro-batches of
  /// the window is minimised exactly. All micro-batches of a window must then give a weight.
  StepOutput(at::Tensor loss_value, at::Tensor loss_weight)
      : loss(std::move(loss_value)), weight(std::move(loss_weight)) {}
  StepOutput(at::Tensor loss_value, double loss_weight);
  /// Skips backward for this batch; the batch is still counted.
  static StepOutput skip() {
    StepOutput output{at::Tensor()};
    output.skipped_on_purpose_ = true;
    return output;
  }
  bool is_skip() const { return !loss.defined(); }
  /// By skip(), not by an undefined tensor.
  bool skipped_on_purpose() const { return skipped_on_purpose_; }
  /// With further outputs: `return StepOutput(loss).with({{"logits", logits}})`.
  StepOutput with(Batch further) && {
    outputs = std::move(further);
    return std::move(*this);
  }

  at::Tensor loss;
  at::Tensor weight;  // undefined: none
  /// For on_train_batch_end(), which gets them without their graphs; nothing else reads them.
  Batch outputs;

 private:
  bool skipped_on_purpose_ = false;
};

/// Hooks run in Lightning's order (docs/hooks.md); every rank runs each of them. Where the data
/// module has a hook of the same name that makes data: its loaders are taken when it gives any, its
/// transfer hooks when it overrides them.
class LIGHTNING_API LightningModule : public torch::nn::Module {
 public:
  LightningModule();
  ~LightningModule() override;

  // ---- what a model is made of
  /// The loss of one batch; autograd records it. Required for fit().
  virtual StepOutput training_step(const Batch& batch, int64_t batch_idx);
  /// Runs without gradients, in eval mode. Log what you want to see.
  virtual void validation_step(const Batch& batch, int64_t batch_idx);
  virtual void test_step(const Batch& batch, int64_t batch_idx);
  /// For validation_step() and test_step(): what step_outputs() gives in the batch's end hooks,
  /// without graphs.
  void set_step_outputs(Batch outputs);
  /// What the present validation_step() or test_step() gave to set_step_outputs(), until
  /// on_validation_batch_end() or on_test_batch_end() is over; else an empty Batch.
  const Batch& step_outputs() const { return step_outputs_; }
  /// The predictions for a batch; they go to the Trainer's prediction sink, in order.
  virtual Batch predict_step(const Batch& batch, int64_t batch_idx);
  /// Required for fit(). The base body builds the optimizer over all parameters that aren't frozen,
  /// and the LR scheduler, that the keys `optimizer` and `lr_scheduler` of the config name
  /// (TrainerParts in C++); a scheduler that counts_steps() steps after each optimizer step, others
  /// after each epoch. Without these keys it must be overridden.
  virtual OptimizerList configure_optimizers();
  /// Callbacks that this model brings along; they replace those of the same type that the Trainer
  /// was given.
  virtual std::vector<std::shared_ptr<Callback>> configure_callbacks() { return {}; }

  // ---- data, when there is no data module
  /// As LightningDataModule::prepare_data().
  virtual void prepare_data() {}
  virtual DataLoaders train_dataloader() { return {}; }
  virtual DataLoaders val_dataloader() { return {}; }
  virtual DataLoaders test_dataloader() { return {}; }
  virtual DataLoaders predict_dataloader() { return {}; }
  virtual Batch on_before_batch_transfer(Batch batch) { return batch; }
  virtual Batch transfer_batch_to_device(Batch batch, at::Device device);
  virtual Batch on_after_batch_transfer(Batch batch) { return batch; }

  // ---- life of a run
  virtual void setup(Stage /*stage*/) {}
  virtual void configure_model() {}
  virtual void teardown(Stage /*stage*/) {}
  virtual void on_fit_start() {}
  virtual void on_fit_end() {}
  virtual void on_train_start() {}
  virtual void on_train_end() {}
  virtual void on_train_epoch_start() {}
  virtual void on_train_epoch_end() {}
  virtual void on_train_batch_start(const Batch& /*batch*/, int64_t /*batch_idx*/) {}
  virtual void on_train_batch_end(const StepOutput& /*output*/, const Batch& /*batch*/,
                                  int64_t /*batch_idx*/) {}
  virtual void on_validation_model_zero_grad();
  virtual void on_validation_model_eval() { eval(); }
  virtual void on_validation_model_train() { train(); }
  virtual void on_validation_start() {}
  virtual void on_validation_end() {}
  virtual void on_validation_epoch_start() {}
  virtual void on_validation_epoch_end() {}
  virtual void on_validation_batch_start(const Batch& /*batch*/, int64_t /*batch_idx*/) {}
  virtual void on_validation_batch_end(const Batch& /*batch*/, int64_t /*batch_idx*/) {}
  virtual void on_test_model_eval() { eval(); }
  virtual void on_test_model_train() { train(); }
  virtual void on_test_start() {}
  virtual void on_test_end() {}
  virtual void on_test_epoch_start() {}
  virtual void on_test_epoch_end() {}
  virtual void on_test_batch_start(const Batch& /*batch*/, int64_t /*batch_idx*/) {}
  virtual void on_test_batch_end(const Batch& /*batch*/, int64_t /*batch_idx*/) {}
  virtual void on_predict_model_eval() { eval(); }
  virtual void on_predict_start() {}
  virtual void on_predict_end() {}
  virtual void on_predict_epoch_start() {}
  virtual void on_predict_epoch_end() {}
  virtual void on_predict_batch_start(const Batch& /*batch*/, int64_t /*batch_idx*/) {}
  virtual void on_predict_batch_end(const Batch& /*outputs*/, const Batch& /*batch*/,
                                    int64_t /*batch_idx*/) {}

  // ---- optimization
  virtual void backward(const at::Tensor& loss);
  virtual void on_before_zero_grad(torch::optim::Optimizer& /*optimizer*/) {}
  virtual void on_before_backward(const at::Tensor& /*loss*/) {}
  virtual void on_after_backward() {}
  virtual void on_before_optimizer_step(torch::optim::Optimizer& /*optimizer*/) {}
  /// No sync, unless it reads OptimizerStep::skipped.
  virtual void on_after_optimizer_step(const OptimizerStep& /*step*/) {}
  virtual void optimizer_zero_grad(torch::optim::Optimizer& optimizer);
  /// `step` runs training_step, backward, clipping and the optimizer; call it once.
  virtual void optimizer_step(int64_t epoch, int64_t batch_idx, torch::optim::Optimizer& optimizer,
                              const std::function<void()>& step);
  virtual void configure_gradient_clipping(torch::optim::Optimizer& optimizer,
                                           std::optional<double> gradient_clip_val,
                                           GradientClipAlgorithm algorithm);
  /// `metric`: the value for a schedule that watches one, nothing for others.
  virtual void lr_scheduler_step(optim::LRScheduler& scheduler, std::optional<double> metric);

  // ---- manual optimization
  /// False, set before fit(): training_step() itself runs backward and steps the optimizers, of
  /// which there may be several, and LR schedules. What it returns is shown and not minimised.
  void set_automatic_optimization(bool automatic) { automatic_optimization_ = automatic; }
  bool automatic_optimization() const { return automatic_optimization_; }
  /// An optimizer of configure_optimizers(). Throws ConfigError outside of fit's epochs.
  LightningOptimizer& optimizer(size_t index = 0);
  /// A schedule of an optimizer; ConfigError when there is none of this index.
  optim::LRScheduler& lr_scheduler(size_t optimizer = 0, size_t index = 0);
  /// The gradients of a loss, under every strategy and precision: on_before_backward(), backward(),
  /// on_after_backward(). On ranks whose batches differ in size the loss is multiplied by
  /// Batch::rank_weight. Every rank must call it, with the same parameters trainable. Throws
  /// ConfigError with automatic optimization, outside of training_step() and for a loss without a
  /// graph.
  void manual_backward(const at::Tensor& loss, Sync sync = Sync::kLast);

  // ---- checkpoints
  /// False: where the Trainer loads a checkpoint's weights into this module, to resume or to
  /// evaluate, tensors that only one of the two has are left as they are, with a warning.
  void set_strict_loading(bool strict) { strict_loading_ = strict; }
  bool strict_loading() const { return strict_loading_; }
  /// Custom entries; they are passed to on_load_checkpoint().
  virtual void on_save_checkpoint(StateDict& /*state*/) {}
  virtual void on_load_checkpoint(const StateDict& /*state*/) {}
  /// Files that the model needs to be rebuilt from a checkpoint alone: name and content.
  virtual std::vector<std::pair<std::string, std::string>> checkpoint_assets() { return {}; }

  // ---- for use inside hooks
  /// Records a metric; see LogOptions for the defaults. No host sync. Throws ConfigError outside
  /// the hooks that may log.
  void log(std::string_view name, const at::Tensor& value, const LogOptions& options = {});
  void log(std::string_view name, double value, const LogOptions& options = {});
  /// Records a registered metric after its update(). on_step: its value over the batch, that is
  /// over what it was given since the last log(). on_epoch: its value over the epoch or pass,
  /// computed once, at the end, from what all ranks gave it; then it is reset. Not to be reset by
  /// the module. Options that it doesn't use: batch_size; sync_dist for on_step, whose value is
  /// this rank's. Sync: see MetricLog::record(). Throws ConfigError too for a metric that isn't
  /// registered, that has a different name or is logged in training and validation, and for a value
  /// that isn't one element.
  void log(std::string_view name, metrics::Metric& metric, const LogOptions& options = {});
  void log(std::string_view name, const std::shared_ptr<metrics::Metric>& metric,
           const LogOptions& options = {});
  /// log() of each, with the same options.
  void log_dict(std::initializer_list<std::pair<std::string_view, LogValue>> values,
                const LogOptions& options = {});
  void log_dict(const std::map<std::string, at::Tensor>& values, const LogOptions& options = {});
  /// Gives a metric to the Trainer, which resets it at the beginning of a run, merges its states
  /// over ranks when it is logged, and keeps it in checkpoints: a run resumes in the middle of an
  /// epoch. Returns the metric, as register_module() does. To be called in the constructor, in
  /// setup() or in configure_model(), by every rank with the same names. Throws ConfigError for an
  /// empty or taken name, for null and for a metric that has a name already.
  template <typename MetricType>
  std::shared_ptr<MetricType> register_metric(std::string name,
                                              std::shared_ptr<MetricType> metric) {
    add_metric(std::move(name), metric);
    return metric;
  }
  /// Nothing is trained any more, as with Lightning's: no parameter requires a gradient, and the
  /// module is in eval mode. In fit() the Trainer puts it in train mode again.
  void freeze();
  /// All parameters require gradients, and the module is in train mode.
  void unfreeze();
  /// Prints on rank 0 without tearing the progress bar.
  void print(std::string_view line);
  /// Throws ConfigError when no Trainer runs this module.
  TrainerContext& trainer() const;
  bool has_trainer() const { return trainer_ != nullptr; }
  int64_t current_epoch() const { return trainer().current_epoch(); }
  int64_t global_step() const { return trainer().global_step(); }
  /// Where the parameters are.
  at::Device device() const;

  // ---- options
  /// Keeps the options (a struct with LIGHTNING_FIELDS) so that checkpoints hold them and
  /// load_from_checkpoint() rebuilds the model.
  template <typename Options>
  void save_hyperparameters(const Options& options) {
    hyperparameters_ = config::to_node(options);
  }
  const config::ConfigNode& hyperparameters() const { return hyperparameters_; }

  /// Set by the Trainer for the time of a run (nullptr: none).
  void attach(TrainerContext* trainer, MetricLog* metric_log);
  /// Whether the base class's own training_step() body answered, that is: it isn't overridden.
  bool base_body_ran() const { return base_body_ran_; }
  void reset_base_body() { base_body_ran_ = false; }
  /// For the Trainer.
  MetricRegistry& registered_metrics() { return *registered_metrics_; }

 protected:
  /// Called by the base bodies of steps that a subclass may leave out.
  void mark_base_body() { base_body_ran_ = true; }

 private:
  void add_metric(std::string name, std::shared_ptr<metrics::Metric> metric);
  /// Whether log() is to record a value with these options.
  bool records(const LogOptions& options) const;

  TrainerContext* trainer_ = nullptr;
  MetricLog* metric_log_ = nullptr;
  std::shared_ptr<MetricRegistry> registered_metrics_;
  Batch step_outputs_;
  config::ConfigNode hyperparameters_;
  bool base_body_ran_ = false;
  bool automatic_optimization_ = true;
  bool strict_loading_ = true;
};

}  // namespace lightning
