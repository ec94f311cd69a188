/// LR schedules. A schedule is a pure function from the number of steps it has made to a factor on
/// the base learning rates; its whole state is that number and the base rates, so it is saved and
/// restored exactly (LibTorch's own schedulers have no state to save).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <lightning/config/fields.h>
#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace torch::optim {
class Optimizer;
}

namespace lightning::optim {

/// What a schedule that a config names is made from.
struct LRSchedulerContext {
  std::shared_ptr<torch::optim::Optimizer> optimizer;
  /// Optimizer steps of the whole fit; 0: unknown.
  int64_t total_steps = 0;
};

class LIGHTNING_API LRScheduler {
 public:
  virtual ~LRScheduler();
  /// Whether a schedule that a config names counts optimizer steps; else it counts epochs.
  virtual bool counts_steps() const { return false; }

  /// One interval has passed: sets the learning rate of every parameter group. One that was added
  /// to the optimizer meanwhile follows the schedule from here on, as in PyTorch.
  void step();
  /// Takes the present rates of groups that were added to the optimizer for those of the present
  /// step.
  void include_new_groups();
  /// Learning rates of the parameter groups as they are now.
  std::vector<double> get_last_lr() const;
  int64_t step_count() const { return step_count_; }
  const std::vector<double>& base_lrs() const { return base_lrs_; }

  /// What it computes, for messages and to find out whether a resumed run has the same one:
  /// "StepLR(step_size=30, gamma=0.1)". By default the name of the class.
  virtual std::string describe() const;
  /// What is odd about it in a fit of `intervals` steps() in all, for a warning; empty: nothing.
  virtual std::string mismatch(int64_t intervals) const;

  StateDict state_dict() const;
  /// Throws CheckpointError when the number of parameter groups differs: include_new_groups()
  /// first.
  void load_state_dict(const StateDict& state);
  /// Continues as if `step_count` steps had been made from these base rates, one per group, and
  /// sets the learning rates. Throws CheckpointError for another number of rates.
  void resume_at(int64_t step_count, std::vector<double> base_lrs);

 protected:
  /// Takes the optimizer's present rates as base rates.
  explicit LRScheduler(std::shared_ptr<torch::optim::Optimizer> optimizer);
  /// The factor after `step` steps; factor(0) holds before the first step(). Called once from each
  /// subclass's constructor through apply().
  virtual double factor(int64_t step) const = 0;
  void apply();

 private:
  std::shared_ptr<torch::optim::Optimizer> optimizer_;
  std::vector<double> base_lrs_;
  int64_t step_count_ = 0;
};

/// Any function of the step.
class LIGHTNING_API LambdaLR : public LRScheduler {
 public:
  LambdaLR(std::shared_ptr<torch::optim::Optimizer> optimizer,
           std::function<double(int64_t)> factor);
  std::string describe() const override { return "LambdaLR"; }

 private:
  double factor(int64_t step) const override { return function_(step); }
  std::function<double(int64_t)> function_;
};

/// The base rates, always.
class LIGHTNING_API ConstantLR : public LRScheduler {
 public:
  explicit ConstantLR(std::shared_ptr<torch::optim::Optimizer> optimizer);
  explicit ConstantLR(const LRSchedulerContext& context) : ConstantLR(context.optimizer) {}
  std::string describe() const override { return "ConstantLR"; }

 private:
  double factor(int64_t) const override { return 1.0; }
};

struct StepLROptions {
  int64_t step_size = 1;
  double gamma = 0.1;
};
LIGHTNING_FIELDS(StepLROptions, LIGHTNING_FIELD(step_size, "epochs between changes"),
                 LIGHTNING_FIELD(gamma, "factor of each change"))

/// Times gamma every `step_size` steps (torch.optim.lr_scheduler.StepLR).
class LIGHTNING_API StepLR : public LRScheduler {
 public:
  StepLR(std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t step_size, double gamma = 0.1);
  StepLR(const LRSchedulerContext& context, const StepLROptions& options)
      : StepLR(context.optimizer, options.step_size, options.gamma) {}
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  double factor(int64_t step) const override;
  int64_t step_size_;
  double gamma_;
};

struct LinearWarmupLROptions {
  int64_t warmup_steps = 0;
  /// None: those of the whole fit.
  std::optional<int64_t> total_steps = std::nullopt;
};
LIGHTNING_FIELDS(LinearWarmupLROptions, LIGHTNING_FIELD(warmup_steps, "steps up to the base rate"),
                 LIGHTNING_FIELD(total_steps, "steps until the rate is 0; null: the whole fit"))

/// From 0 up to the base rates over `warmup_steps`, then linearly down to 0 at `total_steps`
/// (transformers' get_linear_schedule_with_warmup).
class LIGHTNING_API LinearWarmupLR : public LRScheduler {
 public:
  LinearWarmupLR(std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t warmup_steps,
                 int64_t total_steps);
  /// Throws ConfigError when neither gives the total.
  LinearWarmupLR(const LRSchedulerContext& context, const LinearWarmupLROptions& options);
  bool counts_steps() const override { return true; }
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  double factor(int64_t step) const override;
  int64_t warmup_steps_;
  int64_t total_steps_;
};

struct CosineAnnealingLROptions {
  /// None: those of the whole fit.
  std::optional<int64_t> total_steps = std::nullopt;
  int64_t warmup_steps = 0;
  double min_factor = 0.0;
};
LIGHTNING_FIELDS(CosineAnnealingLROptions,
                 LIGHTNING_FIELD(total_steps, "steps until the lowest rate; null: the whole fit"),
                 LIGHTNING_FIELD(warmup_steps, "steps up to the base rate"),
                 LIGHTNING_FIELD(min_factor, "lowest rate as a fraction of the base rate"))

/// Linear warmup, then half a cosine from the base rates down to `min_factor` times them at
/// `total_steps` (torch's CosineAnnealingLR when warmup_steps is 0).
class LIGHTNING_API CosineAnnealingLR : public LRScheduler {
 public:
  CosineAnnealingLR(std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t total_steps,
                    int64_t warmup_steps = 0, double min_factor = 0.0);
  /// Throws ConfigError when neither gives the total.
  CosineAnnealingLR(const LRSchedulerContext& context, const CosineAnnealingLROptions& options);
  bool counts_steps() const override { return true; }
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  double factor(int64_t step) const override;
  int64_t total_steps_;
  int64_t warmup_steps_;
  double min_factor_;
};

}  // namespace lightning::optim
