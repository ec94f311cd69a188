#include <lightning/optim/decay_schedules.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include <lightning/optim/detail/schedule_text.h>
#include <lightning/util/error.h>

namespace lightning::optim {
namespace {

using Functions = std::vector<LambdaLR::Function>;

void check_functions(const char* schedule, const Functions& functions, size_t groups) {
  for (const auto& function : functions) {
    LIGHTNING_CHECK(function != nullptr, ConfigError, schedule,
                    ": the function is empty, expected a factor for each step. HINT: leave the "
                    "schedule out for a constant rate.");
  }
  LIGHTNING_CHECK(functions.size() == 1 || functions.size() == groups, ConfigError, schedule,
                  ": there are ", functions.size(), " functions and ", groups,
                  " parameter groups, expected one for all or one for each. HINT: give one.");
}

/// Of a group that was added later to one of a list: the last one's.
const LambdaLR::Function& function_of(const Functions& functions, size_t group) {
  return functions[std::min(group, functions.size() - 1)];
}

/// gamma to the power of an integer, as PyTorch's closed forms have it.
double power_of(double gamma, int64_t exponent) {
  return std::pow(gamma, static_cast<double>(exponent));
}

void require_finite(const char* schedule, const char* option, double value) {
  LIGHTNING_CHECK(std::isfinite(value) && value >= 0.0, ConfigError, schedule, ": ", option, " is ",
                  value, ", expected a finite number of 0 or more.");
}

void require_fraction(const char* schedule, const char* option, double value) {
  LIGHTNING_CHECK(value >= 0.0 && value <= 1.0, ConfigError, schedule, ": ", option, " is ", value,
                  ", expected a fraction of the base rate in [0, 1]. HINT: divide the rate by the "
                  "optimizer's.");
}

}  // namespace

LambdaLR::LambdaLR(std::shared_ptr<torch::optim::Optimizer> optimizer, Function lr_lambda)
    : LambdaLR(std::move(optimizer), Functions{std::move(lr_lambda)}) {}

LambdaLR::LambdaLR(std::shared_ptr<torch::optim::Optimizer> optimizer,
                   std::vector<Function> lr_lambdas)
    : LRScheduler(std::move(optimizer)), functions_(std::move(lr_lambdas)) {
  check_functions("LambdaLR", functions_, base_lrs().size());
  apply();
}

double LambdaLR::factor(int64_t step, size_t group) const {
  return function_of(functions_, group)(step);
}

MultiplicativeLR::MultiplicativeLR(std::shared_ptr<torch::optim::Optimizer> optimizer,
                                   Function lr_lambda)
    : MultiplicativeLR(std::move(optimizer), Functions{std::move(lr_lambda)}) {}

MultiplicativeLR::MultiplicativeLR(std::shared_ptr<torch::optim::Optimizer> optimizer,
                                   std::vector<Function> lr_lambdas)
    : LRScheduler(std::move(optimizer)), functions_(std::move(lr_lambdas)) {
  check_functions("MultiplicativeLR", functions_, base_lrs().size());
  apply();
}

double MultiplicativeLR::factor(int64_t step, size_t group) const {
  if (group >= latest_.size()) latest_.resize(group + 1);
  Product& product = latest_[group];
  if (product.step > step) product = {};
  while (product.step < step) {
    ++product.step;
    product.value *= function_of(functions_, group)(product.step);
  }
  return product.value;
}

StepLR::StepLR(std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t step_size, double gamma)
    : LRScheduler(std::move(optimizer)), step_size_(step_size), gamma_(gamma) {
  require_at_least("StepLR", "step_size", step_size, 1);
  require_finite("StepLR", "gamma", gamma);
  apply();
}

std::string StepLR::describe() const {
  return detail::concat("StepLR(step_size=", step_size_, ", gamma=", gamma_, ")");
}

std::string StepLR::mismatch(int64_t intervals) const {
  if (step_size_ < intervals) return {};
  return detail::concat(
      describe(), ": the first change comes after ", step_size_, " intervals and the fit has ",
      intervals, ", so the rate never changes. HINT: choose a smaller step_size or a longer fit.");
}

double StepLR::factor(int64_t step, size_t /*group*/) const {
  return power_of(gamma_, step / step_size_);
}

MultiStepLR::MultiStepLR(std::shared_ptr<torch::optim::Optimizer> optimizer,
                         std::vector<int64_t> milestones, double gamma)
    : LRScheduler(std::move(optimizer)), milestones_(std::move(milestones)), gamma_(gamma) {
  LIGHTNING_CHECK(!milestones_.empty(), ConfigError,
                  "MultiStepLR: milestones is empty, expected the steps at which the rate changes. "
                  "HINT: [30, 80] changes it twice.");
  LIGHTNING_CHECK(std::is_sorted(milestones_.begin(), milestones_.end()) && milestones_.front() > 0,
                  ConfigError, "MultiStepLR: milestones is ", list_text(milestones_),
                  ", expected rising numbers above 0. HINT: sort them.");
  require_finite("MultiStepLR", "gamma", gamma);
  apply();
}

std::string MultiStepLR::describe() const {
  return detail::concat("MultiStepLR(milestones=", list_text(milestones_), ", gamma=", gamma_, ")");
}

std::string MultiStepLR::mismatch(int64_t intervals) const {
  if (milestones_.back() < intervals) return {};
  return detail::concat(describe(), ": the last change comes after ", milestones_.back(),
                        " intervals and the fit has ", intervals,
                        ", so it is never made. HINT: set milestones to less than ", intervals,
                        ".");
}

double MultiStepLR::factor(int64_t step, size_t /*group*/) const {
  const auto reached = std::upper_bound(milestones_.begin(), milestones_.end(), step);
  return power_of(gamma_, reached - milestones_.begin());
}

ConstantLR::ConstantLR(std::shared_ptr<torch::optim::Optimizer> optimizer, double factor,
                       int64_t total_iters)
    : LRScheduler(std::move(optimizer)), factor_(factor), total_iters_(total_iters) {
  require_fraction("ConstantLR", "factor", factor);
  require_at_least("ConstantLR", "total_iters", total_iters, 0);
  apply();
}

std::string ConstantLR::describe() const {
  return detail::concat("ConstantLR(factor=", factor_, ", total_iters=", total_iters_, ")");
}

std::string ConstantLR::mismatch(int64_t intervals) const {
  return length_mismatch(describe(), "total_iters", total_iters_, intervals, "");
}

double ConstantLR::factor(int64_t step, size_t /*group*/) const {
  return step < total_iters_ ? factor_ : 1.0;
}

LinearLR::LinearLR(std::shared_ptr<torch::optim::Optimizer> optimizer, double start_factor,
                   double end_factor, int64_t total_iters)
    : LRScheduler(std::move(optimizer)),
      start_factor_(start_factor),
      end_factor_(end_factor),
      total_iters_(total_iters) {
  LIGHTNING_CHECK(start_factor > 0.0 && start_factor <= 1.0, ConfigError,
                  "LinearLR: start_factor is ", start_factor,
                  ", expected a fraction of the base rate in (0, 1]. HINT: LinearWarmupLR begins "
                  "at 0.");
  require_fraction("LinearLR", "end_factor", end_factor);
  require_at_least("LinearLR", "total_iters", total_iters, 1);
  apply();
}

std::string LinearLR::describe() const {
  return detail::concat("LinearLR(start_factor=", start_factor_, ", end_factor=", end_factor_,
                        ", total_iters=", total_iters_, ")");
}

std::string LinearLR::mismatch(int64_t intervals) const {
  return length_mismatch(describe(), "total_iters", total_iters_, intervals, "");
}

double LinearLR::factor(int64_t step, size_t /*group*/) const {
  const int64_t done = std::min(step, total_iters_);
  return start_factor_ + (end_factor_ - start_factor_) * fraction(done, total_iters_);
}

ExponentialLR::ExponentialLR(std::shared_ptr<torch::optim::Optimizer> optimizer, double gamma)
    : LRScheduler(std::move(optimizer)), gamma_(gamma) {
  require_finite("ExponentialLR", "gamma", gamma);
  apply();
}

ExponentialLR::ExponentialLR(const LRSchedulerContext& context, const ExponentialLROptions& options)
    : LRScheduler(context.optimizer), gamma_(options.gamma.value_or(1.0)) {
  LIGHTNING_CHECK(options.gamma.has_value(), ConfigError,
                  "ExponentialLR: gamma is null, expected the factor of each step. HINT: 0.95 "
                  "lowers the rate by a twentieth.");
  require_finite("ExponentialLR", "gamma", gamma_);
  apply();
}

std::string ExponentialLR::describe() const {
  return detail::concat("ExponentialLR(gamma=", gamma_, ")");
}

double ExponentialLR::factor(int64_t step, size_t /*group*/) const {
  return power_of(gamma_, step);
}

PolynomialLR::PolynomialLR(std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t total_iters,
                           double power)
    : LRScheduler(std::move(optimizer)), total_iters_(total_iters), power_(power) {
  require_at_least("PolynomialLR", "total_iters", total_iters, 1);
  require_finite("PolynomialLR", "power", power);
  apply();
}

std::string PolynomialLR::describe() const {
  return detail::concat("PolynomialLR(total_iters=", total_iters_, ", power=", power_, ")");
}

std::string PolynomialLR::mismatch(int64_t intervals) const {
  return length_mismatch(describe(), "total_iters", total_iters_, intervals,
                         ", so the rate is 0 for the rest");
}

double PolynomialLR::factor(int64_t step, size_t /*group*/) const {
  return std::pow(1.0 - fraction(std::min(step, total_iters_), total_iters_), power_);
}

}  // namespace lightning::optim
