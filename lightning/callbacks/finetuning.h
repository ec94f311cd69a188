/// Finetuning: parts of a module stay frozen and join the training later, in parameter groups of
/// their own.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/config/fields.h>
#include <lightning/util/export.h>

namespace torch::nn {
class Module;
}

namespace lightning {

/// How BaseFinetuning::unfreeze_and_add_param_group() adds a group.
struct UnfreezeOptions {
  /// Learning rate of the new group; nothing: that of the first group / initial_denom_lr.
  std::optional<double> lr = std::nullopt;
  double initial_denom_lr = 10.0;
  /// False: BatchNorm layers stay frozen.
  bool train_bn = true;
};

/// Base of callbacks that freeze parts of the module before training and unfreeze them at the
/// start of an epoch. A resumed run has the same groups and the same frozen parameters: both are in
/// the callback's state, and the groups of all these callbacks are added again in their old order,
/// in the first one's on_fit_start(): before the optimizer is restored. The state stays that of the
/// last fit when it is over, for checkpoints that are written then. Every rank must freeze and
/// unfreeze alike. A group that is added follows the LR schedule from then on.
///
///   class UnfreezeHead : public BaseFinetuning {
///     void freeze_before_training(LightningModule& module) override { freeze(*net(module).head); }
///     void finetune_function(LightningModule& module, int64_t epoch,
///                            torch::optim::Optimizer& optimizer) override {
///       if (epoch == 3) unfreeze_and_add_param_group(*net(module).head, optimizer);
///     }
///   };
class LIGHTNING_API BaseFinetuning : public Callback {
 public:
  /// In setup() of a fit: before configure_optimizers(), which should leave out what is frozen.
  virtual void freeze_before_training(LightningModule& module) = 0;
  /// At the start of each epoch, counted from 0, for each optimizer.
  virtual void finetune_function(LightningModule& module, int64_t epoch,
                                 torch::optim::Optimizer& optimizer) = 0;

  void setup(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void teardown(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void on_fit_start(TrainerContext& trainer, LightningModule& module) override;
  void on_train_epoch_start(TrainerContext& trainer, LightningModule& module) override;
  std::string state_key() const override { return "BaseFinetuning"; }
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

 protected:
  /// Freezes all parameters of `module`. BatchNorm layers are left trainable with `train_bn`; else
  /// torch::nn::BatchNorm1d, 2d and 3d keep their running statistics, too, until the fit ends, and
  /// normalise by those of the batch in training.
  void freeze(torch::nn::Module& module, bool train_bn = true);
  /// Makes all parameters trainable; BatchNorm layers update their running statistics again.
  void make_trainable(torch::nn::Module& module);
  /// Makes `module` trainable and adds those of its parameters that the optimizer doesn't have as a
  /// group, with the optimizer's default options and the learning rate of `options`. False, with a
  /// warning, when the optimizer has all of them already.
  bool unfreeze_and_add_param_group(torch::nn::Module& module, torch::optim::Optimizer& optimizer,
                                    const UnfreezeOptions& options = {});
  /// The same without the parameters that one of `others` has: they stay there, with a warning.
  bool unfreeze_and_add_param_group(torch::nn::Module& module, torch::optim::Optimizer& optimizer,
                                    const UnfreezeOptions& options,
                                    const std::vector<const torch::optim::Optimizer*>& others);
  /// How many groups were added to all optimizers, before a resume included.
  size_t num_added_groups() const { return added_.size(); }
  /// Index in its optimizer of a group that was added, counted from 0.
  size_t group_index(size_t added) const { return added_.at(added).index; }

 private:
  struct AddedGroup {
    size_t optimizer = 0;  // in configure_optimizers()
    size_t index = 0;      // in the optimizer
    std::vector<std::string> parameters;
    double lr = 0.0;  // when it was added
  };
  struct Frozen {
    std::vector<std::string> parameters;
    std::vector<std::string> statistics;  // modules
  };

  void make_trainable_itself(torch::nn::Module& module);
  void freeze_itself(torch::nn::Module& module);
  void note_added(size_t optimizer, size_t first_group);
  static void add_all_again(TrainerContext& trainer);
  void add_again(TrainerContext& trainer, const AddedGroup& added) const;
  /// Freezes what the state says, and nothing else.
  void apply_frozen(const Frozen& frozen);

  std::vector<AddedGroup> added_;
  std::optional<Frozen> restored_;  // of the checkpoint, until on_fit_start()
  bool adds_again_ = false;  // what was added before the resume, until the first on_fit_start()
  /// BatchNorm layers whose statistics are frozen, with the momentum that they had.
  std::map<torch::nn::Module*, std::optional<double>> momenta_;
  LightningModule* module_ = nullptr;  // between setup() and teardown() of a fit
  StateDict last_state_;               // of the fit that ended
};

struct BackboneFinetuningOptions {
  /// Path of the submodule: "backbone", "net.encoder".
  std::string backbone = "backbone";
  /// First epoch, counted from 0, in which the backbone is trained.
  int64_t unfreeze_backbone_at_epoch = 10;
  /// In each later epoch the backbone's learning rate is multiplied by this.
  double multiplier = 2.0;
  /// The backbone's first learning rate as a part of the first group's.
  double backbone_initial_ratio_lr = 0.1;
  /// The backbone's first learning rate, instead of a part.
  std::optional<double> backbone_initial_lr = std::nullopt;
  /// The backbone's rate is at most the first group's.
  bool should_align = true;
  /// False: the backbone's BatchNorm layers are never trained.
  bool train_bn = true;
  /// Say both learning rates in each epoch.
  bool verbose = false;
};

LIGHTNING_FIELDS(
    BackboneFinetuningOptions,
    LIGHTNING_FIELD(backbone, "path of the submodule, such as net.encoder"),
    LIGHTNING_FIELD(unfreeze_backbone_at_epoch, "first epoch (from 0) in which it is trained"),
    LIGHTNING_FIELD(multiplier, "its learning rate is multiplied by this in each later epoch"),
    LIGHTNING_FIELD(backbone_initial_ratio_lr, "its first rate as a part of the first group's"),
    LIGHTNING_FIELD(backbone_initial_lr, "its first rate, instead of a part"),
    LIGHTNING_FIELD(should_align, "its rate is at most the first group's"),
    LIGHTNING_FIELD(train_bn, "train its BatchNorm layers"),
    LIGHTNING_FIELD(verbose, "say both learning rates in each epoch"))

/// Freezes a submodule, adds it to the first optimizer in an epoch of choice, and raises its
/// learning rate from epoch to epoch. What an optimizer of the run has already stays there. Within
/// an epoch its rate changes as the first group's does, so that it follows the schedule. Sync:
/// none.
class LIGHTNING_API BackboneFinetuning final : public BaseFinetuning {
 public:
  using Options = BackboneFinetuningOptions;
  /// `lambda_func` gives the multiplier of an epoch, counted from 1, instead of the option.
  /// Throws ConfigError for values out of range.
  explicit BackboneFinetuning(BackboneFinetuningOptions options = {},
                              std::function<double(int64_t)> lambda_func = {});

  /// The backbone's learning rate at the start of the present epoch; nothing while it is frozen.
  std::optional<double> backbone_lr() const { return backbone_lr_; }

  /// Throws ConfigError when the module has no submodule of that path.
  void freeze_before_training(LightningModule& module) override;
  void finetune_function(LightningModule& module, int64_t epoch,
                         torch::optim::Optimizer& optimizer) override;
  void setup(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void on_fit_start(TrainerContext& trainer, LightningModule& module) override;
  void on_train_batch_start(TrainerContext& trainer, LightningModule& module, const Batch& batch,
                            int64_t batch_idx) override;
  std::string state_key() const override;
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

 private:
  torch::nn::Module& backbone_of(LightningModule& module) const;
  void unfreeze(LightningModule& module, torch::optim::Optimizer& optimizer);
  void raise_rate(int64_t epoch, torch::optim::Optimizer& optimizer);

  BackboneFinetuningOptions options_;
  std::function<double(int64_t)> lambda_func_;
  std::optional<size_t> group_;        // of the backbone
  std::optional<double> backbone_lr_;  // at the epoch's start
  double first_lr_ = 0.0;              // of the first group, at the epoch's start
};

}  // namespace lightning
