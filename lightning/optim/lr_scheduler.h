/// LRScheduler: what every LR schedule is. A schedule is a function from the number of steps it has
/// made to a factor on the base rate of each parameter group. Its state is that number, the base
/// rates and, of a few, what they have seen; so it is saved and restored exactly (LibTorch's own
/// schedulers have no state to save). The schedules themselves: lr_schedules.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

/// An optimizer may have several schedules: the rate of a group is its base rate times the product
/// of their factors. Where PyTorch chains schedules that are factors (all but those with rates of
/// their own, such as eta_min) the values are the same, to rounding. A schedule belongs to the
/// product from its construction to its destruction. Not synchronized: the schedules of one
/// optimizer are used by one thread.
class LIGHTNING_API LRScheduler {
 public:
  virtual ~LRScheduler();
  LRScheduler(const LRScheduler&) = delete;
  LRScheduler& operator=(const LRScheduler&) = delete;

  /// Whether a schedule that a config names counts optimizer steps; else it counts epochs.
  virtual bool counts_steps() const { return false; }
  /// Whether it judges a metric (ReduceLROnPlateau): it then takes step(metric), else step().
  virtual bool watches_metric() const { return false; }
  /// The metric that its options name, for schedules that a config makes; empty: none.
  virtual std::string monitor() const { return {}; }
  /// How many steps it can make at most; nothing: any number. A fit that is planned for more is
  /// refused before its first step.
  virtual std::optional<int64_t> max_steps() const { return std::nullopt; }

  /// One interval has passed: sets the learning rate of every parameter group, and the momentum
  /// where the schedule moves it. A group that was added to the optimizer meanwhile follows the
  /// schedule from here on, as in PyTorch. Throws ConfigError for a schedule that watches a metric,
  /// that is part of another one, or whose max_steps() are made; nothing is changed then.
  void step();
  /// The same with the metric's value. Throws ConfigError for a schedule that watches none.
  void step(double metric);
  /// Takes the present rates of groups that were added to the optimizer for those of the present
  /// step, for all schedules of the optimizer. (With rates of their own, such as eta_min, exactly
  /// where these are small beside the group's.)
  void include_new_groups();
  /// Learning rates of the parameter groups as they are now.
  std::vector<double> get_last_lr() const;
  int64_t step_count() const { return step_count_; }
  /// One per group, common to all schedules of the optimizer: its rates when the first of them was
  /// made.
  const std::vector<double>& base_lrs() const;
  torch::optim::Optimizer& optimizer() const;

  /// What it computes, for messages and to find out whether a resumed run has the same one:
  /// "StepLR(step_size=30, gamma=0.1)". By default the name of the class.
  virtual std::string describe() const;
  /// What is odd about it in a fit of `intervals` steps() in all, for a warning; empty: nothing.
  virtual std::string mismatch(int64_t intervals) const;

  /// step_count, base_lrs, last_lrs (those of the optimizer now) and what save_state() adds.
  /// Momentum is part of the optimizer's state.
  StateDict state_dict() const;
  /// Throws CheckpointError, and changes nothing, when the number of parameter groups differs
  /// (include_new_groups() first), or a value can't be one of a schedule.
  void load_state_dict(const StateDict& state);
  /// Continues as if `step_count` steps had been made from these base rates, one per group, and
  /// sets the learning rates. Throws CheckpointError for another number of rates.
  void resume_at(int64_t step_count, std::vector<double> base_lrs);

 protected:
  /// Takes the optimizer's present rates as base rates, unless a schedule before did.
  explicit LRScheduler(std::shared_ptr<torch::optim::Optimizer> optimizer);

  /// The factor on the base rate of a group after `step` steps; factor(0, group) holds before the
  /// first step(). The same whenever it is asked, until judge().
  virtual double factor(int64_t step, size_t group) const = 0;
  /// SGD's momentum or Adam's beta1 of a group after `step` steps; nothing: it isn't moved.
  virtual std::optional<double> momentum(int64_t /*step*/, size_t /*group*/) const {
    return std::nullopt;
  }
  /// Of one that watches_metric(): takes the value before the step that it belongs to.
  virtual void judge(double /*metric*/) {}
  /// What the factors depend on besides the step. load_state() checks it (CheckpointError) before
  /// it changes anything.
  virtual void save_state(StateDict& /*state*/) const {}
  virtual void load_state(const StateDict& /*state*/) {}

  /// Sets the rates of the present step: to be called at the end of the constructor.
  void apply();
  /// The factor with which a group has the learning rate `rate`, whatever its base rate.
  double factor_of_rate(double rate, size_t group) const;
  /// Throws ConfigError when a group has a base rate of 0, which no factor makes another one;
  /// `option` is what needs it ("eta_min").
  void require_base_rates(std::string_view option) const;

  // For schedules that are made of others.
  /// From here on `part` is no schedule of its own: `owner`'s factors are made of its. Throws
  /// ConfigError for null, for one that watches a metric, that is part of a schedule already, or is
  /// of another optimizer.
  static void take_over(const std::shared_ptr<LRScheduler>& part, const LRScheduler& owner,
                        std::string_view name);
  static const std::shared_ptr<torch::optim::Optimizer>& optimizer_of(const LRScheduler& part);
  static double factor_of(const LRScheduler& part, int64_t step, size_t group) {
    return part.factor(step, group);
  }
  static std::optional<double> momentum_of(const LRScheduler& part, int64_t step, size_t group) {
    return part.momentum(step, group);
  }
  static void save_part(const LRScheduler& part, StateDict& state) { part.save_state(state); }
  static void load_part(LRScheduler& part, const StateDict& state) { part.load_state(state); }

 private:
  class Shared;

  void require_independence() const;
  /// Makes the step, unless factor() throws.
  void advance();
  std::vector<double> factors_at(int64_t step) const;
  void set_momenta() const;

  std::shared_ptr<Shared> shared_;  // by all schedules of the optimizer
  std::vector<double> factors_;     // of the present step, one per group
  int64_t step_count_ = 0;
  bool is_part_ = false;  // of another schedule
};

}  // namespace lightning::optim
