#include <lightning/optim/reduce_lr_on_plateau.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <lightning/optim/detail/schedule_text.h>
#include <lightning/util/error.h>

namespace lightning::optim {

ReduceLROnPlateau::ReduceLROnPlateau(std::shared_ptr<torch::optim::Optimizer> optimizer,
                                     ReduceLROnPlateauOptions options)
    : LRScheduler(std::move(optimizer)),
      options_(std::move(options)),
      best_(options_.mode == PlateauMode::kMin ? std::numeric_limits<double>::infinity()
                                               : -std::numeric_limits<double>::infinity()),
      reductions_(base_lrs().size(), 1.0) {
  LIGHTNING_CHECK(options_.factor >= 0.0 && options_.factor < 1.0, ConfigError,
                  "ReduceLROnPlateau: factor is ", options_.factor,
                  ", expected a number in [0, 1). HINT: 0.1 takes a tenth.");
  require_at_least("ReduceLROnPlateau", "patience", options_.patience, 0);
  require_at_least("ReduceLROnPlateau", "cooldown", options_.cooldown, 0);
  LIGHTNING_CHECK(options_.threshold >= 0.0 && options_.eps >= 0.0, ConfigError,
                  "ReduceLROnPlateau: threshold is ", options_.threshold, " and eps ", options_.eps,
                  ", expected numbers of 0 or more.");
  options_.min_lr.check("ReduceLROnPlateau", "min_lr", base_lrs().size());
  apply();
}

std::string ReduceLROnPlateau::describe() const {
  return detail::concat(
      "ReduceLROnPlateau(mode=", options_.mode == PlateauMode::kMin ? "min" : "max",
      ", factor=", options_.factor, ", patience=", options_.patience,
      ", threshold=", options_.threshold,
      ", threshold_mode=", options_.threshold_mode == ThresholdMode::kRel ? "rel" : "abs",
      ", cooldown=", options_.cooldown, ", min_lr=", options_.min_lr.to_text(),
      ", eps=", options_.eps, ")");
}

double ReduceLROnPlateau::factor(int64_t /*step*/, size_t group) const {
  return group < reductions_.size() ? reductions_[group] : 1.0;
}

bool ReduceLROnPlateau::is_better(double value) const {
  const double threshold = options_.threshold;
  const bool relative = options_.threshold_mode == ThresholdMode::kRel;
  if (options_.mode == PlateauMode::kMin) {
    return value < (relative ? best_ * (1.0 - threshold) : best_ - threshold);
  }
  return value > (relative ? best_ * (threshold + 1.0) : best_ + threshold);
}

void ReduceLROnPlateau::judge(double metric) {
  if (is_better(metric)) {
    best_ = metric;
    num_bad_epochs_ = 0;
  } else {
    ++num_bad_epochs_;
  }
  if (cooldown_counter_ > 0) {
    --cooldown_counter_;
    num_bad_epochs_ = 0;
  }
  if (num_bad_epochs_ <= options_.patience) return;
  reduce();
  cooldown_counter_ = options_.cooldown;
  num_bad_epochs_ = 0;
}

void ReduceLROnPlateau::reduce() {
  const std::vector<double> rates = get_last_lr();
  reductions_.resize(rates.size(), 1.0);
  for (size_t group = 0; group < rates.size(); ++group) {
    const double rate = rates[group];
    const double lowest = options_.min_lr.of(group);
    const double reduced = std::max(rate * options_.factor, lowest);
    if (rate - reduced <= options_.eps) continue;
    reductions_[group] *= reduced == lowest ? lowest / rate : options_.factor;
  }
}

void ReduceLROnPlateau::save_state(StateDict& state) const {
  state.set("best", best_);
  state.set("num_bad_epochs", num_bad_epochs_);
  state.set("cooldown_counter", cooldown_counter_);
  state.set("reductions", reductions_);
}

void ReduceLROnPlateau::load_state(const StateDict& state) {
  const auto best = state.get<double>("best");
  const auto bad_epochs = state.get<int64_t>("num_bad_epochs");
  const auto cooldown = state.get<int64_t>("cooldown_counter");
  const auto& reductions = state.get<std::vector<double>>("reductions");
  LIGHTNING_CHECK(!std::isnan(best) && bad_epochs >= 0 && bad_epochs <= options_.patience &&
                      cooldown >= 0 && cooldown <= options_.cooldown,
                  CheckpointError, "ReduceLROnPlateau: the checkpoint has best ", best,
                  ", num_bad_epochs ", bad_epochs, " and cooldown_counter ", cooldown,
                  ", expected a number, at most ", options_.patience, " and at most ",
                  options_.cooldown, ". HINT: resume from a different checkpoint.");
  const bool are_reductions = std::all_of(reductions.begin(), reductions.end(), [](double value) {
    return value >= 0.0 && value <= 1.0;
  });
  LIGHTNING_CHECK(are_reductions && reductions.size() <= base_lrs().size(), CheckpointError,
                  "ReduceLROnPlateau: the checkpoint has ", reductions.size(),
                  " reductions, expected at most ", base_lrs().size(),
                  " in [0, 1]. HINT: resume from a different checkpoint.");
  best_ = best;
  num_bad_epochs_ = bad_epochs;
  cooldown_counter_ = cooldown;
  reductions_ = reductions;
}

}  // namespace lightning::optim
