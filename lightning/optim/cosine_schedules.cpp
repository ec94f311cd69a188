#include <lightning/optim/cosine_schedules.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

#include <lightning/optim/detail/schedule_text.h>
#include <lightning/util/error.h>

namespace lightning::optim {
namespace {

int64_t required(const char* schedule, const char* option, std::optional<int64_t> value) {
  LIGHTNING_CHECK(value.has_value(), ConfigError, schedule, ": ", option,
                  " is null, expected a number of steps. HINT: use the length of the fit.");
  return *value;
}

void check_eta_min(const char* schedule, double eta_min) {
  LIGHTNING_CHECK(std::isfinite(eta_min) && eta_min >= 0.0, ConfigError, schedule, ": eta_min is ",
                  eta_min, ", expected a learning rate of 0 or more.");
}

/// 1 at the beginning of a period, 0 at its end.
double half_cosine(int64_t step, int64_t period) {
  return (1.0 +
          std::cos(std::numbers::pi * static_cast<double>(step) / static_cast<double>(period))) /
         2.0;
}

}  // namespace

CosineAnnealingLR::CosineAnnealingLR(std::shared_ptr<torch::optim::Optimizer> optimizer,
                                     int64_t T_max, double eta_min)
    : LRScheduler(std::move(optimizer)), T_max_(T_max), eta_min_(eta_min) {
  require_at_least("CosineAnnealingLR", "T_max", T_max, 1);
  check_eta_min("CosineAnnealingLR", eta_min);
  if (eta_min > 0.0) require_base_rates("eta_min");
  apply();
}

CosineAnnealingLR::CosineAnnealingLR(const LRSchedulerContext& context,
                                     const CosineAnnealingLROptions& options)
    : CosineAnnealingLR(context.optimizer, required("CosineAnnealingLR", "T_max", options.T_max),
                        options.eta_min) {}

std::string CosineAnnealingLR::describe() const {
  return detail::concat("CosineAnnealingLR(T_max=", T_max_, ", eta_min=", eta_min_, ")");
}

std::string CosineAnnealingLR::mismatch(int64_t intervals) const {
  return length_mismatch(describe(), "T_max", T_max_, intervals, ", so the rate rises again");
}

double CosineAnnealingLR::factor(int64_t step, size_t group) const {
  const double cosine = half_cosine(step, T_max_);
  if (eta_min_ == 0.0) return cosine;
  return factor_of_rate(eta_min_ + (base_lrs()[group] - eta_min_) * cosine, group);
}

CosineAnnealingWarmRestarts::CosineAnnealingWarmRestarts(
    std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t T_0, int64_t T_mult, double eta_min)
    : LRScheduler(std::move(optimizer)), T_0_(T_0), T_mult_(T_mult), eta_min_(eta_min) {
  require_at_least("CosineAnnealingWarmRestarts", "T_0", T_0, 1);
  require_at_least("CosineAnnealingWarmRestarts", "T_mult", T_mult, 1);
  check_eta_min("CosineAnnealingWarmRestarts", eta_min);
  if (eta_min > 0.0) require_base_rates("eta_min");
  apply();
}

CosineAnnealingWarmRestarts::CosineAnnealingWarmRestarts(
    const LRSchedulerContext& context, const CosineAnnealingWarmRestartsOptions& options)
    : CosineAnnealingWarmRestarts(context.optimizer,
                                  required("CosineAnnealingWarmRestarts", "T_0", options.T_0),
                                  options.T_mult, options.eta_min) {}

std::string CosineAnnealingWarmRestarts::describe() const {
  return detail::concat("CosineAnnealingWarmRestarts(T_0=", T_0_, ", T_mult=", T_mult_,
                        ", eta_min=", eta_min_, ")");
}

std::string CosineAnnealingWarmRestarts::mismatch(int64_t intervals) const {
  if (T_0_ <= intervals) return {};
  return length_mismatch(describe(), "T_0", T_0_, intervals, "");
}

double CosineAnnealingWarmRestarts::factor(int64_t step, size_t group) const {
  int64_t period = T_0_;
  if (T_mult_ == 1) {
    step %= period;
  } else {
    while (step >= period) {
      step -= period;
      if (__builtin_mul_overflow(period, T_mult_, &period)) {
        period = std::numeric_limits<int64_t>::max();
      }
    }
  }
  const double cosine = half_cosine(step, period);
  if (eta_min_ == 0.0) return cosine;
  return factor_of_rate(eta_min_ + (base_lrs()[group] - eta_min_) * cosine, group);
}

}  // namespace lightning::optim
