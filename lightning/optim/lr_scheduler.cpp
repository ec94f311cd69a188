#include <lightning/optim/lr_scheduler.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <typeinfo>
#include <utility>

#include <c10/util/Type.h>
#include <torch/optim/optimizer.h>

#include <lightning/util/error.h>

namespace lightning::optim {
namespace {

double fraction(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<int64_t>(1, whole));
}

/// How far a schedule has come between its warmup and its end, 0 to 1.
double progress_after_warmup(int64_t step, int64_t warmup_steps, int64_t total_steps) {
  if (step >= total_steps) return 1.0;
  return fraction(step - warmup_steps, total_steps - warmup_steps);
}

void check_steps(const char* scheduler, int64_t warmup_steps, int64_t total_steps) {
  LIGHTNING_CHECK(warmup_steps >= 0, ConfigError, scheduler, ": warmup_steps is ", warmup_steps,
                  ", expected 0 or more. HINT: use 0 for no warmup.");
  LIGHTNING_CHECK(total_steps >= 0, ConfigError, scheduler, ": total_steps is ", total_steps,
                  ", expected 0 or more. HINT: pass the trainer's estimated_stepping_batches().");
}

/// `given` steps, or those of the whole fit.
int64_t total_of(const LRSchedulerContext& context, std::optional<int64_t> given,
                 const char* scheduler) {
  LIGHTNING_CHECK(given || context.total_steps > 0, ConfigError, scheduler,
                  ": total_steps is null and the number of steps of the fit is unknown, expected "
                  "one of them. HINT: set total_steps, or trainer.max_steps.");
  return given.value_or(context.total_steps);
}

/// What is odd about a schedule with an end in a fit of `intervals`.
std::string mismatch_of(const std::string& schedule, int64_t warmup_steps, int64_t total_steps,
                        int64_t intervals) {
  if (warmup_steps >= intervals && warmup_steps > 0) {
    return detail::concat(schedule, ": its warmup of ", warmup_steps,
                          " steps is not over when the fit ends, after ", intervals,
                          ", so the rate never comes down. HINT: set warmup_steps to less than ",
                          intervals, ".");
  }
  if (total_steps == intervals) return {};
  return detail::concat(
      schedule, ": it is made for ", total_steps, " steps and the fit has ", intervals,
      total_steps > intervals
          ? ", so it ends before the lowest rate is reached. HINT: set total_steps to "
          : ", so the rate stays at its lowest for the rest. HINT: set total_steps to ",
      intervals, ", or leave it out where the config names the schedule.");
}

}  // namespace

LRScheduler::LRScheduler(std::shared_ptr<torch::optim::Optimizer> optimizer)
    : optimizer_(std::move(optimizer)) {
  LIGHTNING_CHECK(optimizer_ != nullptr, ConfigError,
                  "LRScheduler: the optimizer is null, expected an optimizer. HINT: make the "
                  "optimizer first and hand it to the scheduler.");
  base_lrs_ = get_last_lr();
}

LRScheduler::~LRScheduler() = default;

void LRScheduler::step() {
  include_new_groups();
  ++step_count_;
  apply();
}

void LRScheduler::include_new_groups() {
  const std::vector<double> rates = get_last_lr();
  for (size_t group = base_lrs_.size(); group < rates.size(); ++group) {
    const double scale = factor(step_count_);
    // A rate that isn't 0 where the schedule is at 0 is nobody's multiple: it is the base.
    base_lrs_.push_back(scale == 0.0 ? rates[group] : rates[group] / scale);
  }
}

void LRScheduler::apply() {
  const double scale = factor(step_count_);
  auto& groups = optimizer_->param_groups();
  for (size_t i = 0; i < std::min(groups.size(), base_lrs_.size()); ++i) {
    groups[i].options().set_lr(base_lrs_[i] * scale);
  }
}

std::vector<double> LRScheduler::get_last_lr() const {
  std::vector<double> rates;
  for (const auto& group : std::as_const(*optimizer_).param_groups()) {
    rates.push_back(group.options().get_lr());
  }
  return rates;
}

StateDict LRScheduler::state_dict() const {
  StateDict state;
  state.set("step_count", step_count_);
  state.set("base_lrs", base_lrs_);
  state.set("last_lrs", get_last_lr());
  return state;
}

void LRScheduler::load_state_dict(const StateDict& state) {
  const auto& base_lrs = state.get<std::vector<double>>("base_lrs");
  const auto& last_lrs = state.get<std::vector<double>>("last_lrs");
  auto& groups = optimizer_->param_groups();
  LIGHTNING_CHECK(base_lrs.size() == base_lrs_.size() && last_lrs.size() == groups.size(),
                  CheckpointError, "LRScheduler: the checkpoint has learning rates for ",
                  last_lrs.size(), " parameter groups, but the optimizer has ", groups.size(),
                  ". HINT: build the optimizer with the groups that it was saved with.");
  step_count_ = state.get<int64_t>("step_count");
  base_lrs_ = base_lrs;
  // Not computed from the count: a callback may have set a different rate since the last step().
  for (size_t i = 0; i < groups.size(); ++i) groups[i].options().set_lr(last_lrs[i]);
}

void LRScheduler::resume_at(int64_t step_count, std::vector<double> base_lrs) {
  LIGHTNING_CHECK(base_lrs.size() == base_lrs_.size(), CheckpointError, "LRScheduler: there are ",
                  base_lrs.size(), " base rates, expected one for each of the ", base_lrs_.size(),
                  " parameter groups. HINT: build the optimizer with the groups that it was saved "
                  "with.");
  step_count_ = step_count;
  base_lrs_ = std::move(base_lrs);
  apply();
}

std::string LRScheduler::describe() const { return c10::demangle(typeid(*this).name()); }

std::string LRScheduler::mismatch(int64_t /*intervals*/) const { return {}; }

LambdaLR::LambdaLR(std::shared_ptr<torch::optim::Optimizer> optimizer,
                   std::function<double(int64_t)> factor)
    : LRScheduler(std::move(optimizer)), function_(std::move(factor)) {
  LIGHTNING_CHECK(function_ != nullptr, ConfigError,
                  "LambdaLR: the function is empty, expected a factor for each step. HINT: use "
                  "ConstantLR for a constant rate.");
  apply();
}

ConstantLR::ConstantLR(std::shared_ptr<torch::optim::Optimizer> optimizer)
    : LRScheduler(std::move(optimizer)) {}

StepLR::StepLR(std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t step_size, double gamma)
    : LRScheduler(std::move(optimizer)), step_size_(step_size), gamma_(gamma) {
  LIGHTNING_CHECK(step_size >= 1, ConfigError, "StepLR: step_size is ", step_size,
                  ", expected 1 or more. HINT: use ConstantLR for a constant rate.");
  apply();
}

std::string StepLR::describe() const {
  return detail::concat("StepLR(step_size=", step_size_, ", gamma=", gamma_, ")");
}

std::string StepLR::mismatch(int64_t intervals) const {
  if (step_size_ < intervals) return {};
  return detail::concat(
      describe(), ": the first change comes after ", step_size_, " intervals and the fit has ",
      intervals, ", so the rate never changes. HINT: set step_size to less than ", intervals, ".");
}

double StepLR::factor(int64_t step) const {
  return std::pow(gamma_, static_cast<double>(step / step_size_));
}

LinearWarmupLR::LinearWarmupLR(std::shared_ptr<torch::optim::Optimizer> optimizer,
                               int64_t warmup_steps, int64_t total_steps)
    : LRScheduler(std::move(optimizer)), warmup_steps_(warmup_steps), total_steps_(total_steps) {
  check_steps("LinearWarmupLR", warmup_steps, total_steps);
  apply();
}

LinearWarmupLR::LinearWarmupLR(const LRSchedulerContext& context,
                               const LinearWarmupLROptions& options)
    : LinearWarmupLR(context.optimizer, options.warmup_steps,
                     total_of(context, options.total_steps, "LinearWarmupLR")) {}

std::string LinearWarmupLR::describe() const {
  return detail::concat("LinearWarmupLR(warmup_steps=", warmup_steps_,
                        ", total_steps=", total_steps_, ")");
}

std::string LinearWarmupLR::mismatch(int64_t intervals) const {
  return mismatch_of(describe(), warmup_steps_, total_steps_, intervals);
}

double LinearWarmupLR::factor(int64_t step) const {
  if (step < warmup_steps_) return fraction(step, warmup_steps_);
  return std::max(0.0, fraction(total_steps_ - step, total_steps_ - warmup_steps_));
}

CosineAnnealingLR::CosineAnnealingLR(std::shared_ptr<torch::optim::Optimizer> optimizer,
                                     int64_t total_steps, int64_t warmup_steps, double min_factor)
    : LRScheduler(std::move(optimizer)),
      total_steps_(total_steps),
      warmup_steps_(warmup_steps),
      min_factor_(min_factor) {
  check_steps("CosineAnnealingLR", warmup_steps, total_steps);
  LIGHTNING_CHECK(
      min_factor >= 0.0 && min_factor <= 1.0, ConfigError, "CosineAnnealingLR: min_factor is ",
      min_factor,
      ", expected a fraction of the base rate in [0, 1]. HINT: divide the lowest learning "
      "rate by the base rate.");
  apply();
}

CosineAnnealingLR::CosineAnnealingLR(const LRSchedulerContext& context,
                                     const CosineAnnealingLROptions& options)
    : CosineAnnealingLR(context.optimizer,
                        total_of(context, options.total_steps, "CosineAnnealingLR"),
                        options.warmup_steps, options.min_factor) {}

std::string CosineAnnealingLR::describe() const {
  return detail::concat("CosineAnnealingLR(total_steps=", total_steps_,
                        ", warmup_steps=", warmup_steps_, ", min_factor=", min_factor_, ")");
}

std::string CosineAnnealingLR::mismatch(int64_t intervals) const {
  return mismatch_of(describe(), warmup_steps_, total_steps_, intervals);
}

double CosineAnnealingLR::factor(int64_t step) const {
  if (step < warmup_steps_) return fraction(step, warmup_steps_);
  const double progress = progress_after_warmup(step, warmup_steps_, total_steps_);
  const double cosine = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return min_factor_ + (1.0 - min_factor_) * cosine;
}

}  // namespace lightning::optim
