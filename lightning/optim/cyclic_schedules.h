/// Schedules with rates of their own, which may move momentum (SGD's, or Adam's beta1) against the
/// rate. Names, arguments, defaults and values are those of torch.optim.lr_scheduler.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <lightning/config/fields.h>
#include <lightning/optim/lr_scheduler.h>
#include <lightning/optim/per_group.h>
#include <lightning/util/export.h>

namespace lightning::optim {

/// How the height of a cycle changes.
enum class CyclicMode {
  kTriangular,   // not at all
  kTriangular2,  // half of it in each cycle
  kExpRange,     // times gamma every step
};
LIGHTNING_ENUM(CyclicMode, LIGHTNING_ENUMERATOR(kTriangular, "triangular"),
               LIGHTNING_ENUMERATOR(kTriangular2, "triangular2"),
               LIGHTNING_ENUMERATOR(kExpRange, "exp_range"))

struct CyclicLROptions {
  /// Lowest and highest rate, whatever the optimizer's is. Required.
  PerGroup base_lr = {};
  PerGroup max_lr = {};
  int64_t step_size_up = 2000;
  /// None: as many as up.
  std::optional<int64_t> step_size_down = std::nullopt;
  CyclicMode mode = CyclicMode::kTriangular;
  double gamma = 1.0;
  /// Momentum falls from max_momentum to base_momentum while the rate rises. The optimizer must
  /// have one.
  bool cycle_momentum = true;
  PerGroup base_momentum = 0.8;
  PerGroup max_momentum = 0.9;
};
LIGHTNING_FIELDS(CyclicLROptions, LIGHTNING_FIELD(base_lr, "lowest rate (required)"),
                 LIGHTNING_FIELD(max_lr, "highest rate (required)"),
                 LIGHTNING_FIELD(step_size_up, "steps up to max_lr"),
                 LIGHTNING_FIELD(step_size_down, "steps down again; null: as many"),
                 LIGHTNING_FIELD(mode, "triangular, triangular2 or exp_range"),
                 LIGHTNING_FIELD(gamma, "factor on the height of each step, for exp_range"),
                 LIGHTNING_FIELD(cycle_momentum, "move momentum against the rate"),
                 LIGHTNING_FIELD(base_momentum, "momentum at max_lr"),
                 LIGHTNING_FIELD(max_momentum, "momentum at base_lr"))

/// Up and down in straight lines between two rates (Smith, Cyclical Learning Rates, 2017). A step
/// is an optimizer step.
class LIGHTNING_API CyclicLR final : public LRScheduler {
 public:
  /// What ScaleFunction gets: the number of the cycle, from 1, or the step.
  enum class ScaleMode { kCycle, kIterations };
  /// The height of a cycle as a fraction.
  using ScaleFunction = std::function<double(double)>;

  CyclicLR(std::shared_ptr<torch::optim::Optimizer> optimizer, CyclicLROptions options);
  /// With a function in the place of options.mode. In C++ only.
  CyclicLR(std::shared_ptr<torch::optim::Optimizer> optimizer, CyclicLROptions options,
           ScaleFunction scale_fn, ScaleMode scale_mode = ScaleMode::kCycle);
  CyclicLR(const LRSchedulerContext& context, const CyclicLROptions& options)
      : CyclicLR(context.optimizer, options) {}
  bool counts_steps() const override { return true; }
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  double factor(int64_t step, size_t group) const override;
  std::optional<double> momentum(int64_t step, size_t group) const override;
  /// Where a step lies between the lowest (0) and the highest rate (1).
  double height(int64_t step) const;

  CyclicLROptions options_;
  ScaleFunction scale_fn_;  // empty: options_.mode
  ScaleMode scale_mode_;
};

enum class AnnealStrategy { kCos, kLinear };
LIGHTNING_ENUM(AnnealStrategy, LIGHTNING_ENUMERATOR(kCos, "cos"),
               LIGHTNING_ENUMERATOR(kLinear, "linear"))

struct OneCycleLROptions {
  /// Highest rate, whatever the optimizer's is. Required.
  PerGroup max_lr = {};
  /// None: epochs * steps_per_epoch; in a config without these the steps of the whole fit.
  std::optional<int64_t> total_steps = std::nullopt;
  std::optional<int64_t> epochs = std::nullopt;
  std::optional<int64_t> steps_per_epoch = std::nullopt;
  double pct_start = 0.3;
  AnnealStrategy anneal_strategy = AnnealStrategy::kCos;
  /// Momentum falls from max_momentum to base_momentum while the rate rises. The optimizer must
  /// have one.
  bool cycle_momentum = true;
  PerGroup base_momentum = 0.85;
  PerGroup max_momentum = 0.95;
  double div_factor = 25.0;
  double final_div_factor = 1e4;
  bool three_phase = false;
};
LIGHTNING_FIELDS(OneCycleLROptions, LIGHTNING_FIELD(max_lr, "highest rate (required)"),
                 LIGHTNING_FIELD(total_steps, "steps of the cycle; null: the whole fit"),
                 LIGHTNING_FIELD(epochs, "with steps_per_epoch in the place of total_steps"),
                 LIGHTNING_FIELD(steps_per_epoch, "with epochs in the place of total_steps"),
                 LIGHTNING_FIELD(pct_start, "fraction of the cycle in which the rate rises"),
                 LIGHTNING_FIELD(anneal_strategy, "cos or linear"),
                 LIGHTNING_FIELD(cycle_momentum, "move momentum against the rate"),
                 LIGHTNING_FIELD(base_momentum, "momentum at max_lr"),
                 LIGHTNING_FIELD(max_momentum, "momentum at the beginning and the end"),
                 LIGHTNING_FIELD(div_factor, "max_lr is so many times the first rate"),
                 LIGHTNING_FIELD(final_div_factor, "the first rate is so many times the last one"),
                 LIGHTNING_FIELD(three_phase, "down as slowly as up, then to the last rate"))

/// Up to a high rate and down to a very low one, once (Smith and Topin, Super-Convergence, 2018). A
/// step is an optimizer step; more than total_steps of them are a ConfigError, in a fit before its
/// first step.
class LIGHTNING_API OneCycleLR final : public LRScheduler {
 public:
  OneCycleLR(std::shared_ptr<torch::optim::Optimizer> optimizer, OneCycleLROptions options);
  OneCycleLR(const LRSchedulerContext& context, const OneCycleLROptions& options);
  bool counts_steps() const override { return true; }
  std::optional<int64_t> max_steps() const override { return total_steps_; }
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  enum class Point { kInitial, kMax, kMin };
  /// From one point to another, up to a step, which needn't be whole.
  struct Phase {
    double end_step;
    Point start;
    Point end;
  };
  /// A place in a phase, 0 to 1 (beyond 1 after its end).
  struct Place {
    const Phase& phase;
    double fraction;
  };

  double factor(int64_t step, size_t group) const override;
  std::optional<double> momentum(int64_t step, size_t group) const override;
  Place place(int64_t step) const;
  double anneal(double start, double end, double fraction) const;
  double rate_at(Point point, size_t group) const;
  double momentum_at(Point point, size_t group) const;

  OneCycleLROptions options_;
  int64_t total_steps_;
  std::vector<Phase> phases_;
};

}  // namespace lightning::optim
