#include <lightning/callbacks/early_stopping.h>

#include <cmath>
#include <utility>

#include <lightning/util/error.h>

namespace lightning {
namespace {

double worst_score(MonitorMode mode) {
  const double infinity = std::numeric_limits<double>::infinity();
  return mode == MonitorMode::kMin ? infinity : -infinity;
}

}  // namespace

EarlyStopping::EarlyStopping(EarlyStoppingOptions options)
    : options_(std::move(options)), best_score_(worst_score(options_.mode)) {
  LIGHTNING_CHECK(!options_.monitor.empty(), ConfigError,
                  "EarlyStopping: monitor is empty, expected the name of a metric. HINT: set it to "
                  "one that the module logs, such as val_loss.");
  LIGHTNING_CHECK(
      options_.patience >= 0, ConfigError, "EarlyStopping: patience is ", options_.patience,
      ", expected a value >= 0. HINT: use 0 to stop at the first check without improvement.");
  LIGHTNING_CHECK(options_.min_delta >= 0.0, ConfigError, "EarlyStopping: min_delta is ",
                  options_.min_delta, ", expected a value >= 0.");
}

void EarlyStopping::on_validation_end(TrainerContext& trainer, LightningModule&) {
  if (trainer.stage() != Stage::kFit || trainer.sanity_checking()) return;
  if (!trainer.validates_once_per_epoch()) look(trainer);
}

void EarlyStopping::on_train_epoch_end(TrainerContext& trainer, LightningModule&) {
  if (trainer.validates_once_per_epoch()) look(trainer);
}

void EarlyStopping::look(TrainerContext& trainer) {
  const auto value = monitored_value(trainer, "EarlyStopping", options_.monitor);
  if (!value) return;
  const std::string reason = judge(*value);
  if (!reason.empty()) trainer.request_stop("EarlyStopping: " + reason);
}

std::string EarlyStopping::judge(double value) {
  if (options_.check_finite && !std::isfinite(value)) {
    return detail::concat(options_.monitor, " is ", value, ", which is not finite");
  }
  if (options_.stopping_threshold && is_better(value, *options_.stopping_threshold)) {
    return detail::concat(options_.monitor, " is ", value, " and reached ",
                          *options_.stopping_threshold);
  }
  if (options_.divergence_threshold && is_better(*options_.divergence_threshold, value)) {
    return detail::concat(options_.monitor, " is ", value, " and passed ",
                          *options_.divergence_threshold);
  }
  const double delta =
      options_.mode == MonitorMode::kMin ? -options_.min_delta : options_.min_delta;
  if (is_better(value, best_score_ + delta)) {
    best_score_ = value;
    wait_count_ = 0;
    return {};
  }
  ++wait_count_;
  if (wait_count_ < options_.patience) return {};
  return detail::concat(options_.monitor, " did not improve on ", best_score_, " in ", wait_count_,
                        wait_count_ == 1 ? " look" : " looks");
}

bool EarlyStopping::is_better(double a, double b) const {
  return options_.mode == MonitorMode::kMin ? a < b : a > b;
}

std::string EarlyStopping::state_key() const {
  return detail::concat("EarlyStopping(monitor=", options_.monitor, ")");
}

StateDict EarlyStopping::state_dict() const {
  StateDict state;
  state.set("wait_count", wait_count_);
  state.set("best_score", best_score_);
  return state;
}

void EarlyStopping::load_state_dict(const StateDict& state) {
  wait_count_ = state.get<int64_t>("wait_count");
  best_score_ = state.get<double>("best_score");
}

}  // namespace lightning
