#include <lightning/optim/warmup_schedules.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include <lightning/optim/detail/schedule_text.h>
#include <lightning/util/error.h>

namespace lightning::optim {
namespace {

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

double LinearWarmupLR::factor(int64_t step, size_t /*group*/) const {
  if (step < warmup_steps_) return fraction(step, warmup_steps_);
  return std::max(0.0, fraction(total_steps_ - step, total_steps_ - warmup_steps_));
}

CosineWarmupLR::CosineWarmupLR(std::shared_ptr<torch::optim::Optimizer> optimizer,
                               int64_t total_steps, int64_t warmup_steps, double min_factor)
    : LRScheduler(std::move(optimizer)),
      total_steps_(total_steps),
      warmup_steps_(warmup_steps),
      min_factor_(min_factor) {
  check_steps("CosineWarmupLR", warmup_steps, total_steps);
  LIGHTNING_CHECK(
      min_factor >= 0.0 && min_factor <= 1.0, ConfigError, "CosineWarmupLR: min_factor is ",
      min_factor,
      ", expected a fraction of the base rate in [0, 1]. HINT: divide the lowest learning "
      "rate by the base rate.");
  apply();
}

CosineWarmupLR::CosineWarmupLR(const LRSchedulerContext& context,
                               const CosineWarmupLROptions& options)
    : CosineWarmupLR(context.optimizer, total_of(context, options.total_steps, "CosineWarmupLR"),
                     options.warmup_steps, options.min_factor) {}

std::string CosineWarmupLR::describe() const {
  return detail::concat("CosineWarmupLR(total_steps=", total_steps_,
                        ", warmup_steps=", warmup_steps_, ", min_factor=", min_factor_, ")");
}

std::string CosineWarmupLR::mismatch(int64_t intervals) const {
  return mismatch_of(describe(), warmup_steps_, total_steps_, intervals);
}

double CosineWarmupLR::factor(int64_t step, size_t /*group*/) const {
  if (step < warmup_steps_) return fraction(step, warmup_steps_);
  const double progress = progress_after_warmup(step, warmup_steps_, total_steps_);
  const double cosine = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return min_factor_ + (1.0 - min_factor_) * cosine;
}

}  // namespace lightning::optim
