#include <lightning/callbacks/early_stopping.h>

#include <array>
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

constexpr std::array<std::pair<EarlyStoppingReason, std::string_view>, 5> kReasons = {{
    {EarlyStoppingReason::kNotStopped, "not_stopped"},
    {EarlyStoppingReason::kStoppingThreshold, "stopping_threshold"},
    {EarlyStoppingReason::kDivergenceThreshold, "divergence_threshold"},
    {EarlyStoppingReason::kPatienceExhausted, "patience_exhausted"},
    {EarlyStoppingReason::kNonFiniteMetric, "non_finite_metric"},
}};

/// No value is better or worse than nan.
void check_threshold(const char* option, const std::optional<double>& threshold) {
  LIGHTNING_CHECK(!threshold || !std::isnan(*threshold), ConfigError, "EarlyStopping: ", option,
                  " is nan, expected a number. HINT: leave it out for no threshold.");
}

EarlyStoppingReason reason_from(const std::string& text) {
  for (const auto& [reason, name] : kReasons) {
    if (name == text) return reason;
  }
  throw CheckpointError(detail::concat(
      "EarlyStopping: stopping_reason of the checkpoint is \"", text,
      "\", expected one such as patience_exhausted. HINT: resume from a different checkpoint."));
}

}  // namespace

std::string_view to_string(EarlyStoppingReason reason) {
  return kReasons[static_cast<size_t>(reason)].second;
}

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
  check_threshold("stopping_threshold", options_.stopping_threshold);
  check_threshold("divergence_threshold", options_.divergence_threshold);
}

void EarlyStopping::setup(TrainerContext&, LightningModule&, Stage stage) {
  if (stage == Stage::kFit) start_anew();
}

void EarlyStopping::start_anew() {
  wait_count_ = 0;
  best_score_ = worst_score(options_.mode);
  judged_step_ = -1;
  stopping_reason_ = EarlyStoppingReason::kNotStopped;
  message_.clear();
  stopped_epoch_ = 0;
}

bool EarlyStopping::looks_at_epoch_end(const TrainerContext& trainer) const {
  return options_.check_on_train_epoch_end.value_or(trainer.validates_once_per_epoch());
}

void EarlyStopping::on_validation_end(TrainerContext& trainer, LightningModule&) {
  if (trainer.stage() != Stage::kFit || trainer.sanity_checking()) return;
  if (!looks_at_epoch_end(trainer)) look(trainer);
}

void EarlyStopping::on_train_epoch_end(TrainerContext& trainer, LightningModule&) {
  if (looks_at_epoch_end(trainer)) look(trainer);
}

void EarlyStopping::look(TrainerContext& trainer) {
  if (!options_.strict && !trainer.callback_metrics().contains(options_.monitor)) return;
  const auto value = monitored_value(trainer, "EarlyStopping", options_.monitor);
  if (!value) return;
  // Each value counts once: without one of a later step there is nothing to judge.
  const int64_t step = trainer.metric_step(options_.monitor).value_or(trainer.global_step());
  if (step <= judged_step_) return;
  judged_step_ = step;
  judge(*value);
  if (stopping_reason_ == EarlyStoppingReason::kNotStopped) return;
  stopped_epoch_ = trainer.current_epoch();
  trainer.request_stop("EarlyStopping: " + message_);
}

void EarlyStopping::stop(EarlyStoppingReason reason, std::string message) {
  stopping_reason_ = reason;
  message_ = std::move(message);
}

void EarlyStopping::judge(double value) {
  stop(EarlyStoppingReason::kNotStopped, {});
  stopped_epoch_ = 0;
  if (options_.check_finite && !std::isfinite(value)) {
    return stop(EarlyStoppingReason::kNonFiniteMetric,
                detail::concat(options_.monitor, " is ", value, ", which is not finite"));
  }
  if (options_.stopping_threshold && is_better(value, *options_.stopping_threshold)) {
    return stop(EarlyStoppingReason::kStoppingThreshold,
                detail::concat(options_.monitor, " is ", value, " and reached ",
                               *options_.stopping_threshold));
  }
  if (options_.divergence_threshold && is_better(*options_.divergence_threshold, value)) {
    return stop(EarlyStoppingReason::kDivergenceThreshold,
                detail::concat(options_.monitor, " is ", value, " and passed ",
                               *options_.divergence_threshold));
  }
  const double delta =
      options_.mode == MonitorMode::kMin ? -options_.min_delta : options_.min_delta;
  if (is_better(value, best_score_ + delta)) return note_improvement(value);
  ++wait_count_;
  if (wait_count_ < options_.patience) return;
  stop(EarlyStoppingReason::kPatienceExhausted,
       detail::concat(options_.monitor, " did not improve on ", best_score_, " in ", wait_count_,
                      wait_count_ == 1 ? " look" : " looks"));
}

void EarlyStopping::note_improvement(double value) {
  if (options_.verbose) {
    const bool is_first = !std::isfinite(best_score_);
    log_info(detail::concat("EarlyStopping: ", options_.monitor, " is ", value,
                            is_first ? "" : detail::concat(", improved from ", best_score_), "."));
  }
  best_score_ = value;
  wait_count_ = 0;
}

bool EarlyStopping::is_better(double a, double b) const {
  return options_.mode == MonitorMode::kMin ? a < b : a > b;
}

std::vector<MetricDemand> EarlyStopping::required_metrics() const {
  if (!options_.strict) return {};
  return {{.name = options_.monitor, .option = "EarlyStopping: monitor"}};
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
  state.set("stopping_reason", std::string(to_string(stopping_reason_)));
  state.set("stopping_reason_message", message_);
  state.set("stopped_epoch", stopped_epoch_);
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
  // The first checkpoints don't say why.
  const bool says_why = state.contains("stopping_reason");
  const EarlyStoppingReason reason = says_why
                                         ? reason_from(state.get<std::string>("stopping_reason"))
                                         : EarlyStoppingReason::kNotStopped;
  std::string message = says_why ? state.get<std::string>("stopping_reason_message") : "";
  const int64_t stopped_epoch = says_why ? state.get<int64_t>("stopped_epoch") : 0;
  stop(reason, std::move(message));
  stopped_epoch_ = stopped_epoch;
  wait_count_ = wait_count;
  best_score_ = best_score;
  judged_step_ = state.contains("judged_step") ? state.get<int64_t>("judged_step") : -1;
}

}  // namespace lightning
