/// ModelPruning: sets the least important weights to 0 and keeps them there.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/callbacks/callback.h>
#include <lightning/config/fields.h>
#include <lightning/util/export.h>

namespace lightning {

/// Which weights go.
enum class PruningMethod {
  kL1Unstructured,      // those of the smallest absolute value
  kRandomUnstructured,  // any
};

LIGHTNING_ENUM(PruningMethod, LIGHTNING_ENUMERATOR(kL1Unstructured, "l1_unstructured"),
               LIGHTNING_ENUMERATOR(kRandomUnstructured, "random_unstructured"))

struct ModelPruningOptions {
  PruningMethod pruning_fn = PruningMethod::kL1Unstructured;
  /// In each pruning this part of the weights that are left goes, in [0, 1].
  double amount = 0.5;
  /// Paths of the submodules whose own parameters are pruned, such as net.0; empty: all.
  std::vector<std::string> modules = {};
  /// Names of their parameters.
  std::vector<std::string> parameter_names = {"weight", "bias"};
  /// All parameters are compared with each other; else each is pruned by itself.
  bool use_global_unstructured = true;
  /// After each pruning the weights that are left begin again at their first values.
  bool use_lottery_ticket_hypothesis = true;
  /// Forget at the end of training which weights were pruned; else mask() tells.
  bool make_pruning_permanent = true;
  /// Prune at the end of each epoch; else after each validation.
  bool prune_on_train_epoch_end = true;
  /// 1: say how many weights are pruned, 2: also of each parameter.
  int64_t verbose = 0;
};

LIGHTNING_FIELDS(ModelPruningOptions,
                 LIGHTNING_FIELD(pruning_fn,
                                 "l1_unstructured or random_unstructured: which weights go"),
                 LIGHTNING_FIELD(amount,
                                 "part of the weights that are left, which goes in each pruning"),
                 LIGHTNING_FIELD(modules, "paths of the submodules that are pruned; empty: all"),
                 LIGHTNING_FIELD(parameter_names, "names of their parameters"),
                 LIGHTNING_FIELD(use_global_unstructured, "compare all parameters with each other"),
                 LIGHTNING_FIELD(use_lottery_ticket_hypothesis,
                                 "let the weights that are left begin again at their first values"),
                 LIGHTNING_FIELD(make_pruning_permanent, "forget the masks when training ends"),
                 LIGHTNING_FIELD(prune_on_train_epoch_end,
                                 "prune at the end of each epoch; false: after each validation"),
                 LIGHTNING_FIELD(verbose, "1: say how much is pruned, 2: also of each parameter"))

/// Weights that were pruned are 0 from then on: their gradients are set to 0 before clipping, and
/// they themselves after each optimizer step. An epoch that a limit cuts short isn't followed by a
/// pruning. Masks and first values, those with which the fit begins, are in checkpoints.
///
/// Ranks: random choices are rank 0's.
/// Sync:  none in steps; a pruning waits for the device.
class LIGHTNING_API ModelPruning final : public Callback {
 public:
  using Options = ModelPruningOptions;
  /// `amount` of an epoch, counted from 0, instead of the option. Throws ConfigError for values out
  /// of range.
  explicit ModelPruning(ModelPruningOptions options = {},
                        std::function<double(int64_t)> amount = {});

  /// 1 where a weight is left, 0 where it is pruned, by the parameter's name; undefined before the
  /// first pruning and for other parameters.
  at::Tensor mask(const std::string& parameter) const;
  /// The part of all weights to be pruned that is pruned. Sync: waits for the device.
  double sparsity() const;

  void setup(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  /// Throws ConfigError when there is nothing to prune, CheckpointError for a checkpoint of other
  /// parameters.
  void on_fit_start(TrainerContext& trainer, LightningModule& module) override;
  void on_train_epoch_end(TrainerContext& trainer, LightningModule& module) override;
  void on_validation_end(TrainerContext& trainer, LightningModule& module) override;
  void on_before_optimizer_step(TrainerContext& trainer, LightningModule& module,
                                torch::optim::Optimizer& optimizer) override;
  void on_after_optimizer_step(TrainerContext& trainer, LightningModule& module,
                               const OptimizerStep& step) override;
  void on_train_end(TrainerContext& trainer, LightningModule& module) override;
  std::string state_key() const override { return "ModelPruning"; }
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

 private:
  struct Pruned {
    std::string name;
    at::Tensor parameter;
    at::Tensor mask;   // of the parameter's type and device; undefined: nothing is pruned
    at::Tensor first;  // its first values, with use_lottery_ticket_hypothesis
  };

  void collect(LightningModule& module);
  void restore(const StateDict& state);
  void prune(TrainerContext& trainer);
  void prune_together(double amount);
  void share_masks(TrainerContext& trainer);
  void apply_masks();
  void report() const;
  /// `mask` (flat) without a part of what it leaves of `weights` (flat).
  at::Tensor shrink(const at::Tensor& mask, const at::Tensor& weights, double amount) const;

  ModelPruningOptions options_;
  std::function<double(int64_t)> amount_;
  std::vector<Pruned> pruned_;  // from on_fit_start() on
  StateDict restored_;          // until then
};

}  // namespace lightning
