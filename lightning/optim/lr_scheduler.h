/// LR schedules. A schedule is a pure function from the number of steps it has made to a factor on
/// the base learning rates; its whole state is that number and the base rates, so it is saved and
/// restored exactly (LibTorch's own schedulers have no state to save).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace torch::optim {
class Optimizer;
}

namespace lightning::optim {

class LIGHTNING_API LRScheduler {
 public:
  virtual ~LRScheduler();

  /// One interval has passed: sets the learning rate of every parameter group.
  void step();
  /// Learning rates of the parameter groups as they are now.
  std::vector<double> get_last_lr() const;
  int64_t step_count() const { return step_count_; }

  StateDict state_dict() const;
  void load_state_dict(const StateDict& state);

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

 private:
  double factor(int64_t step) const override { return function_(step); }
  std::function<double(int64_t)> function_;
};

/// The base rates, always.
class LIGHTNING_API ConstantLR : public LRScheduler {
 public:
  explicit ConstantLR(std::shared_ptr<torch::optim::Optimizer> optimizer);

 private:
  double factor(int64_t) const override { return 1.0; }
};

/// Times gamma every `step_size` steps (torch.optim.lr_scheduler.StepLR).
class LIGHTNING_API StepLR : public LRScheduler {
 public:
  StepLR(std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t step_size, double gamma = 0.1);

 private:
  double factor(int64_t step) const override;
  int64_t step_size_;
  double gamma_;
};

/// From 0 up to the base rates over `warmup_steps`, then linearly down to 0 at `total_steps`
/// (transformers' get_linear_schedule_with_warmup).
class LIGHTNING_API LinearWarmupLR : public LRScheduler {
 public:
  LinearWarmupLR(std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t warmup_steps,
                 int64_t total_steps);

 private:
  double factor(int64_t step) const override;
  int64_t warmup_steps_;
  int64_t total_steps_;
};

/// Linear warmup, then half a cosine from the base rates down to `min_factor` times them at
/// `total_steps` (torch's CosineAnnealingLR when warmup_steps is 0).
class LIGHTNING_API CosineAnnealingLR : public LRScheduler {
 public:
  CosineAnnealingLR(std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t total_steps,
                    int64_t warmup_steps = 0, double min_factor = 0.0);

 private:
  double factor(int64_t step) const override;
  int64_t total_steps_;
  int64_t warmup_steps_;
  double min_factor_;
};

}  // namespace lightning::optim
