#include <lightning/optim/cyclic_schedules.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include <torch/optim/optimizer.h>

#include <lightning/optim/detail/group_momentum.h>
#include <lightning/optim/detail/schedule_text.h>
#include <lightning/util/error.h>

namespace lightning::optim {
namespace {

void require_momentum(const char* schedule, const torch::optim::Optimizer& optimizer) {
  const auto& groups = optimizer.param_groups();
  const bool all = std::all_of(groups.begin(), groups.end(), [](const auto& group) {
    return get_momentum(group.options()).has_value();
  });
  LIGHTNING_CHECK(all, ConfigError, schedule,
                  ": cycle_momentum is true and the optimizer has neither momentum nor beta1, "
                  "expected one of them. HINT: set cycle_momentum to false.");
}

void check_momenta(const char* schedule, const PerGroup& base, const PerGroup& max,
                   const torch::optim::Optimizer& optimizer) {
  require_momentum(schedule, optimizer);
  const size_t groups = optimizer.param_groups().size();
  for (const auto& [option, value] :
       {std::pair("base_momentum", &base), std::pair("max_momentum", &max)}) {
    value->check(schedule, option, groups);
    for (const double momentum : value->values()) {
      LIGHTNING_CHECK(momentum < 1.0, ConfigError, schedule, ": ", option, " is ", momentum,
                      ", expected less than 1.");
    }
  }
}

const char* text_of(CyclicMode mode) {
  switch (mode) {
    case CyclicMode::kTriangular:
      return "triangular";
    case CyclicMode::kTriangular2:
      return "triangular2";
    case CyclicMode::kExpRange:
      return "exp_range";
  }
  return "";
}

int64_t total_of(const OneCycleLROptions& options) {
  LIGHTNING_CHECK(options.total_steps || (options.epochs && options.steps_per_epoch), ConfigError,
                  "OneCycleLR: total_steps is null, expected a number, or epochs and "
                  "steps_per_epoch. HINT: pass the trainer's estimated_stepping_batches().");
  if (options.total_steps) return *options.total_steps;
  require_at_least("OneCycleLR", "epochs", *options.epochs, 1);
  require_at_least("OneCycleLR", "steps_per_epoch", *options.steps_per_epoch, 1);
  int64_t total = 0;
  LIGHTNING_CHECK(!__builtin_mul_overflow(*options.epochs, *options.steps_per_epoch, &total),
                  ConfigError, "OneCycleLR: epochs * steps_per_epoch is beyond 64 bits.");
  return total;
}

OneCycleLROptions completed(const LRSchedulerContext& context, OneCycleLROptions options) {
  const bool given = options.total_steps || (options.epochs && options.steps_per_epoch);
  if (!given && context.total_steps > 0) options.total_steps = context.total_steps;
  return options;
}

}  // namespace

CyclicLR::CyclicLR(std::shared_ptr<torch::optim::Optimizer> optimizer, CyclicLROptions options)
    : CyclicLR(std::move(optimizer), std::move(options), nullptr) {}

CyclicLR::CyclicLR(std::shared_ptr<torch::optim::Optimizer> optimizer_to_schedule,
                   CyclicLROptions options, ScaleFunction scale_fn, ScaleMode scale_mode)
    : LRScheduler(std::move(optimizer_to_schedule)),
      options_(std::move(options)),
      scale_fn_(std::move(scale_fn)),
      scale_mode_(scale_mode) {
  const size_t groups = base_lrs().size();
  options_.base_lr.check("CyclicLR", "base_lr", groups);
  options_.max_lr.check("CyclicLR", "max_lr", groups);
  require_at_least("CyclicLR", "step_size_up", options_.step_size_up, 1);
  require_at_least("CyclicLR", "step_size_down", options_.step_size_down.value_or(1), 1);
  if (options_.cycle_momentum) {
    check_momenta("CyclicLR", options_.base_momentum, options_.max_momentum, optimizer());
  }
  require_base_rates("base_lr");
  apply();
}

std::string CyclicLR::describe() const {
  std::string text = detail::concat(
      "CyclicLR(base_lr=", options_.base_lr.to_text(), ", max_lr=", options_.max_lr.to_text(),
      ", step_size_up=", options_.step_size_up,
      ", step_size_down=", options_.step_size_down.value_or(options_.step_size_up),
      ", mode=", scale_fn_ ? "scale_fn" : text_of(options_.mode), ", gamma=", options_.gamma);
  if (options_.cycle_momentum) {
    text += detail::concat(", base_momentum=", options_.base_momentum.to_text(),
                           ", max_momentum=", options_.max_momentum.to_text());
  }
  return text + ")";
}

std::string CyclicLR::mismatch(int64_t intervals) const {
  if (options_.step_size_up <= intervals) return {};
  return detail::concat(
      describe(), ": it rises for ", options_.step_size_up, " steps and the fit has ", intervals,
      ", so max_lr is not reached. HINT: set step_size_up to less than ", intervals, ".");
}

double CyclicLR::height(int64_t step) const {
  const auto up = static_cast<double>(options_.step_size_up);
  const double down = static_cast<double>(options_.step_size_down.value_or(options_.step_size_up));
  const double total = up + down;
  const double ratio = up / total;
  const double cycle = std::floor(1.0 + static_cast<double>(step) / total);
  const double x = 1.0 + static_cast<double>(step) / total - cycle;
  const double position = x <= ratio ? x / ratio : (x - 1.0) / (ratio - 1.0);
  if (scale_fn_) {
    return position *
           scale_fn_(scale_mode_ == ScaleMode::kCycle ? cycle : static_cast<double>(step));
  }
  switch (options_.mode) {
    case CyclicMode::kTriangular:
      return position;
    case CyclicMode::kTriangular2:
      return position / std::pow(2.0, cycle - 1.0);
    case CyclicMode::kExpRange:
      return position * std::pow(options_.gamma, static_cast<double>(step));
  }
  return position;
}

double CyclicLR::factor(int64_t step, size_t group) const {
  const double low = options_.base_lr.of(group);
  const double high = options_.max_lr.of(group);
  return factor_of_rate(low + (high - low) * height(step), group);
}

std::optional<double> CyclicLR::momentum(int64_t step, size_t group) const {
  if (!options_.cycle_momentum) return std::nullopt;
  const double low = options_.base_momentum.of(group);
  const double high = options_.max_momentum.of(group);
  return high - (high - low) * height(step);
}

OneCycleLR::OneCycleLR(std::shared_ptr<torch::optim::Optimizer> optimizer_to_schedule,
                       OneCycleLROptions options)
    : LRScheduler(std::move(optimizer_to_schedule)),
      options_(std::move(options)),
      total_steps_(total_of(options_)) {
  options_.max_lr.check("OneCycleLR", "max_lr", base_lrs().size());
  require_at_least("OneCycleLR", "total_steps", total_steps_, 1);
  LIGHTNING_CHECK(options_.pct_start >= 0.0 && options_.pct_start <= 1.0, ConfigError,
                  "OneCycleLR: pct_start is ", options_.pct_start,
                  ", expected a fraction in [0, 1]. HINT: 0.3 is common.");
  LIGHTNING_CHECK(options_.div_factor > 0.0 && options_.final_div_factor > 0.0, ConfigError,
                  "OneCycleLR: div_factor is ", options_.div_factor, " and final_div_factor ",
                  options_.final_div_factor, ", expected numbers above 0.");
  if (options_.cycle_momentum) {
    check_momenta("OneCycleLR", options_.base_momentum, options_.max_momentum, optimizer());
  }
  require_base_rates("max_lr");
  const auto total = static_cast<double>(total_steps_);
  const double up = options_.pct_start * total;
  phases_.push_back({up - 1.0, Point::kInitial, Point::kMax});
  if (options_.three_phase) {
    phases_.push_back({2.0 * up - 2.0, Point::kMax, Point::kInitial});
    phases_.push_back({total - 1.0, Point::kInitial, Point::kMin});
  } else {
    phases_.push_back({total - 1.0, Point::kMax, Point::kMin});
  }
  apply();
}

OneCycleLR::OneCycleLR(const LRSchedulerContext& context, const OneCycleLROptions& options)
    : OneCycleLR(context.optimizer, completed(context, options)) {}

std::string OneCycleLR::describe() const {
  std::string text = detail::concat(
      "OneCycleLR(max_lr=", options_.max_lr.to_text(), ", total_steps=", total_steps_,
      ", pct_start=", options_.pct_start,
      ", anneal_strategy=", options_.anneal_strategy == AnnealStrategy::kCos ? "cos" : "linear",
      ", div_factor=", options_.div_factor, ", final_div_factor=", options_.final_div_factor,
      ", three_phase=", options_.three_phase);
  if (options_.cycle_momentum) {
    text += detail::concat(", base_momentum=", options_.base_momentum.to_text(),
                           ", max_momentum=", options_.max_momentum.to_text());
  }
  return text + ")";
}

std::string OneCycleLR::mismatch(int64_t intervals) const {
  return length_mismatch(describe(), "total_steps", total_steps_, intervals, "");
}

OneCycleLR::Place OneCycleLR::place(int64_t step) const {
  LIGHTNING_CHECK(step <= total_steps_, ConfigError, "OneCycleLR: step ", step,
                  " was asked for and total_steps is ", total_steps_,
                  ", expected at most as many. HINT: make the schedule as long as the training.");
  const auto now = static_cast<double>(step);
  double start = 0.0;
  size_t i = 0;
  while (i + 1 < phases_.size() && now > phases_[i].end_step) start = phases_[i++].end_step;
  const double length = phases_[i].end_step - start;
  return {phases_[i], length == 0.0 ? 1.0 : (now - start) / length};
}

double OneCycleLR::anneal(double start, double end, double fraction) const {
  if (options_.anneal_strategy == AnnealStrategy::kLinear) return (end - start) * fraction + start;
  return end + (start - end) / 2.0 * (std::cos(std::numbers::pi * fraction) + 1.0);
}

double OneCycleLR::rate_at(Point point, size_t group) const {
  const double highest = options_.max_lr.of(group);
  if (point == Point::kMax) return highest;
  const double first = highest / options_.div_factor;
  return point == Point::kInitial ? first : first / options_.final_div_factor;
}

double OneCycleLR::momentum_at(Point point, size_t group) const {
  return point == Point::kMax ? options_.base_momentum.of(group) : options_.max_momentum.of(group);
}

double OneCycleLR::factor(int64_t step, size_t group) const {
  const auto [phase, fraction] = place(step);
  return factor_of_rate(anneal(rate_at(phase.start, group), rate_at(phase.end, group), fraction),
                        group);
}

std::optional<double> OneCycleLR::momentum(int64_t step, size_t group) const {
  if (!options_.cycle_momentum) return std::nullopt;
  const auto [phase, fraction] = place(step);
  return anneal(momentum_at(phase.start, group), momentum_at(phase.end, group), fraction);
}

}  // namespace lightning::optim
