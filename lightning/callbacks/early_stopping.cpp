#include <lightning/callbacks/early_stopping.h>

#include <cmath>
#include <utility>

#include <lightning/util/error.h>
#include <lightning/util/log.h>

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

void EarlyStopping::setup(TrainerContext&, LightningModule&, Stage stage) {
  if (stage == Stage::kFit) start_anew();
}

void EarlyStopping::start_anew() {
  wait_count_ = 0;
  best_score_ = worst_score(options_.mode);
  judged_step_ = -1;
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
  // Each value counts once: without a new one there is nothing to judge.
  const int64_t step = trainer.metric_step(options_.monitor).value_or(trainer.global_step());
  if (std::exchange(judged_step_, step) == step) return;
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
  return detail::concat("EarlyStopping(monitor=", options_.monitor,
                        ",mode=", to_string(options_.mode), ")");
}

StateDict EarlyStopping::state_dict() const {
  StateDict state;
  state.set("wait_count", wait_count_);
  state.set("best_score", best_score_);
  state.set("judged_step", judged_step_);
  state.set("monitor", options_.monitor);
  state.set("mode", std::string(to_string(options_.mode)));
  return state;
}

void EarlyStopping::load_state_dict(const StateDict& state) {
  const auto wait_count = state.get<int64_t>("wait_count");
  const auto best_score = state.get<double>("best_score");
  const auto was = [&](const char* name, std::string_view now) {
    return state.contains(name) ? state.get<std::string>(name) : std::string(now);
  };
  const std::string monitor = was("monitor", options_.monitor);
  const std::string mode = was("mode", to_string(options_.mode));
  if (monitor != options_.monitor || mode != to_string(options_.mode)) {
    log_warning(detail::concat("EarlyStopping: monitor was ", monitor, " (", mode, ") and is ",
                               options_.monitor, " (", to_string(options_.mode),
                               "); the comparison starts anew."));
    start_anew();
    return;
  }
  LIGHTNING_CHECK(wait_count >= 0 && !std::isnan(best_score), CheckpointError,
                  "EarlyStopping: the checkpoint has wait_count ", wait_count, " and best_score ",
                  best_score,
                  ", expected a count and a number. HINT: resume from a different "
                  "checkpoint.");
  wait_count_ = wait_count;
  best_score_ = best_score;
  judged_step_ = state.contains("judged_step") ? state.get<int64_t>("judged_step") : -1;
}

}  // namespace lightning
