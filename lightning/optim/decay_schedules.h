/// Schedules that are a factor of the step alone: any function, steps down, straight lines, powers.
/// Names, arguments, defaults and values are those of torch.optim.lr_scheduler.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <lightning/config/fields.h>
#include <lightning/optim/lr_scheduler.h>
#include <lightning/util/export.h>

namespace lightning::optim {

/// Any function of the step. In C++ only: a config can't name a function.
class LIGHTNING_API LambdaLR final : public LRScheduler {
 public:
  using Function = std::function<double(int64_t step)>;
  /// One function for all parameter groups.
  LambdaLR(std::shared_ptr<torch::optim::Optimizer> optimizer, Function lr_lambda);
  /// One for each group. Throws ConfigError for another number of them.
  LambdaLR(std::shared_ptr<torch::optim::Optimizer> optimizer, std::vector<Function> lr_lambdas);
  std::string describe() const override { return "LambdaLR"; }

 private:
  double factor(int64_t step, size_t group) const override;
  std::vector<Function> functions_;
};

/// The product of a function's values at 1, 2, ... up to the step. In C++ only. A resumed run calls
/// the function for each step again.
class LIGHTNING_API MultiplicativeLR final : public LRScheduler {
 public:
  using Function = LambdaLR::Function;
  MultiplicativeLR(std::shared_ptr<torch::optim::Optimizer> optimizer, Function lr_lambda);
  MultiplicativeLR(std::shared_ptr<torch::optim::Optimizer> optimizer,
                   std::vector<Function> lr_lambdas);
  std::string describe() const override { return "MultiplicativeLR"; }

 private:
  /// A product that was computed, so that each step is one more multiplication.
  struct Product {
    int64_t step = 0;
    double value = 1.0;
  };
  double factor(int64_t step, size_t group) const override;
  std::vector<Function> functions_;
  mutable std::vector<Product> latest_;  // of each group
};

struct StepLROptions {
  int64_t step_size = 1;
  double gamma = 0.1;
};
LIGHTNING_FIELDS(StepLROptions, LIGHTNING_FIELD(step_size, "epochs between changes"),
                 LIGHTNING_FIELD(gamma, "factor of each change"))

/// Times gamma every `step_size` steps.
class LIGHTNING_API StepLR final : public LRScheduler {
 public:
  StepLR(std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t step_size, double gamma = 0.1);
  StepLR(const LRSchedulerContext& context, const StepLROptions& options)
      : StepLR(context.optimizer, options.step_size, options.gamma) {}
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  double factor(int64_t step, size_t group) const override;
  int64_t step_size_;
  double gamma_;
};

struct MultiStepLROptions {
  /// Steps at which the rate changes, rising; one that stands twice counts twice. Required.
  std::vector<int64_t> milestones = {};
  double gamma = 0.1;
};
LIGHTNING_FIELDS(MultiStepLROptions,
                 LIGHTNING_FIELD(milestones, "epochs after which the rate changes (required)"),
                 LIGHTNING_FIELD(gamma, "factor of each change"))

/// Times gamma at each milestone.
class LIGHTNING_API MultiStepLR final : public LRScheduler {
 public:
  MultiStepLR(std::shared_ptr<torch::optim::Optimizer> optimizer, std::vector<int64_t> milestones,
              double gamma = 0.1);
  MultiStepLR(const LRSchedulerContext& context, const MultiStepLROptions& options)
      : MultiStepLR(context.optimizer, options.milestones, options.gamma) {}
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  double factor(int64_t step, size_t group) const override;
  std::vector<int64_t> milestones_;
  double gamma_;
};

struct ConstantLROptions {
  double factor = 1.0 / 3.0;
  int64_t total_iters = 5;
};
LIGHTNING_FIELDS(ConstantLROptions, LIGHTNING_FIELD(factor, "of the base rate, in [0, 1]"),
                 LIGHTNING_FIELD(total_iters, "epochs until the base rate holds"))

/// `factor` times the base rates for `total_iters` steps, then the base rates. (For a constant rate
/// give no schedule.)
class LIGHTNING_API ConstantLR final : public LRScheduler {
 public:
  explicit ConstantLR(std::shared_ptr<torch::optim::Optimizer> optimizer, double factor = 1.0 / 3.0,
                      int64_t total_iters = 5);
  ConstantLR(const LRSchedulerContext& context, const ConstantLROptions& options)
      : ConstantLR(context.optimizer, options.factor, options.total_iters) {}
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  double factor(int64_t step, size_t group) const override;
  double factor_;
  int64_t total_iters_;
};

struct LinearLROptions {
  double start_factor = 1.0 / 3.0;
  double end_factor = 1.0;
  int64_t total_iters = 5;
};
LIGHTNING_FIELDS(LinearLROptions,
                 LIGHTNING_FIELD(start_factor, "of the base rate at first, in (0, 1]"),
                 LIGHTNING_FIELD(end_factor, "of the base rate at the end, in [0, 1]"),
                 LIGHTNING_FIELD(total_iters, "epochs between the two"))

/// In a straight line from `start_factor` to `end_factor` times the base rates over `total_iters`
/// steps; stays there.
class LIGHTNING_API LinearLR final : public LRScheduler {
 public:
  explicit LinearLR(std::shared_ptr<torch::optim::Optimizer> optimizer,
                    double start_factor = 1.0 / 3.0, double end_factor = 1.0,
                    int64_t total_iters = 5);
  LinearLR(const LRSchedulerContext& context, const LinearLROptions& options)
      : LinearLR(context.optimizer, options.start_factor, options.end_factor, options.total_iters) {
  }
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  double factor(int64_t step, size_t group) const override;
  double start_factor_;
  double end_factor_;
  int64_t total_iters_;
};

struct ExponentialLROptions {
  /// Required.
  std::optional<double> gamma = std::nullopt;
};
LIGHTNING_FIELDS(ExponentialLROptions, LIGHTNING_FIELD(gamma, "factor of each epoch (required)"))

/// Times gamma every step.
class LIGHTNING_API ExponentialLR final : public LRScheduler {
 public:
  ExponentialLR(std::shared_ptr<torch::optim::Optimizer> optimizer, double gamma);
  /// Throws ConfigError without a gamma.
  ExponentialLR(const LRSchedulerContext& context, const ExponentialLROptions& options);
  std::string describe() const override;

 private:
  double factor(int64_t step, size_t group) const override;
  double gamma_;
};

struct PolynomialLROptions {
  int64_t total_iters = 5;
  double power = 1.0;
};
LIGHTNING_FIELDS(PolynomialLROptions, LIGHTNING_FIELD(total_iters, "epochs until the rate is 0"),
                 LIGHTNING_FIELD(power, "of the polynomial"))

/// (1 - step / total_iters) to the `power`, 0 from there on.
class LIGHTNING_API PolynomialLR final : public LRScheduler {
 public:
  explicit PolynomialLR(std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t total_iters = 5,
                        double power = 1.0);
  PolynomialLR(const LRSchedulerContext& context, const PolynomialLROptions& options)
      : PolynomialLR(context.optimizer, options.total_iters, options.power) {}
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  double factor(int64_t step, size_t group) const override;
  int64_t total_iters_;
  double power_;
};

}  // namespace lightning::optim
