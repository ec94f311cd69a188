#include <lightning/callbacks/timer.h>

#include <cmath>
#include <utility>

#include <lightning/config/detail/duration.h>
#include <lightning/util/error.h>
#include <lightning/util/format.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

/// Names in the state, by Stage; Lightning's.
constexpr std::array<const char*, 4> kStageNames = {"train", "validate", "test", "predict"};
constexpr size_t kTraining = static_cast<size_t>(Stage::kFit);

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

Timer::Timer(TimerOptions options) : options_(options) {
  LIGHTNING_CHECK(!options_.duration || options_.duration->count() > 0, ConfigError,
                  "Timer: duration is ",
                  config::duration_text(options_.duration.value_or(std::chrono::milliseconds(0))),
                  ", expected more than 0. HINT: leave it out to measure without a limit.");
}

std::optional<Timer::Clock::time_point> Timer::start_time(Stage stage) const {
  return span(stage).start;
}

std::optional<Timer::Clock::time_point> Timer::end_time(Stage stage) const {
  return span(stage).end;
}

double Timer::time_elapsed(Stage stage) const {
  const Span& of_stage = span(stage);
  const double before = stage == Stage::kFit ? earlier_seconds_ : 0.0;
  if (!of_stage.start) return before;
  return before + seconds(of_stage.end.value_or(Clock::now()) - *of_stage.start);
}

std::optional<double> Timer::time_remaining(Stage stage) const {
  if (!options_.duration) return std::nullopt;
  return seconds(*options_.duration) - time_elapsed(stage);
}

void Timer::begin(Stage stage) { span(stage) = {Clock::now(), std::nullopt}; }

void Timer::end(Stage stage) { span(stage).end = Clock::now(); }

void Timer::look(TrainerContext& trainer) {
  // One rank decides; its request stops all of them.
  if (!options_.duration || !trainer.is_global_zero()) return;
  const double elapsed = time_elapsed();
  if (elapsed < seconds(*options_.duration)) return;
  const std::string limit = config::duration_text(*options_.duration);
  trainer.request_stop(detail::concat("Timer: the duration of ", limit, " is over"));
  if (!options_.verbose || std::exchange(said_time_is_up_, true)) return;
  log_info(format("Timer: the duration of {} is over after {:.1f} s of training.", limit, elapsed));
}

void Timer::setup(TrainerContext&, LightningModule&, Stage stage) {
  if (stage != Stage::kFit) return;
  spans_ = {};
  earlier_seconds_ = 0.0;
  said_time_is_up_ = false;
}

void Timer::on_train_start(TrainerContext& trainer, LightningModule&) {
  begin(Stage::kFit);
  // A run may resume with its time already over.
  look(trainer);
}

void Timer::on_train_end(TrainerContext&, LightningModule&) { end(Stage::kFit); }

void Timer::on_train_batch_end(TrainerContext& trainer, LightningModule&, const StepOutput&,
                               const Batch&, int64_t) {
  if (options_.interval == Interval::kStep) look(trainer);
}

void Timer::on_train_epoch_end(TrainerContext& trainer, LightningModule&) {
  if (options_.interval == Interval::kEpoch) look(trainer);
}

void Timer::on_validation_start(TrainerContext&, LightningModule&) { begin(Stage::kValidate); }
void Timer::on_validation_end(TrainerContext&, LightningModule&) { end(Stage::kValidate); }
void Timer::on_test_start(TrainerContext&, LightningModule&) { begin(Stage::kTest); }
void Timer::on_test_end(TrainerContext&, LightningModule&) { end(Stage::kTest); }
void Timer::on_predict_start(TrainerContext&, LightningModule&) { begin(Stage::kPredict); }
void Timer::on_predict_end(TrainerContext&, LightningModule&) { end(Stage::kPredict); }

std::string Timer::state_key() const {
  // Not the duration: a resumed fit with another one keeps counting.
  return options_.interval == Interval::kStep ? "Timer(interval=step)" : "Timer(interval=epoch)";
}

StateDict Timer::state_dict() const {
  StateDict state;
  for (size_t stage = 0; stage < kStageNames.size(); ++stage) {
    state.set(detail::concat("time_elapsed/", kStageNames[stage]),
              time_elapsed(static_cast<Stage>(stage)));
  }
  return state;
}

void Timer::load_state_dict(const StateDict& state) {
  const auto trained = state.get<double>(detail::concat("time_elapsed/", kStageNames[kTraining]));
  LIGHTNING_CHECK(std::isfinite(trained) && trained >= 0.0, CheckpointError,
                  "Timer: the checkpoint has ", trained,
                  " seconds of training, expected 0 or more. HINT: resume from a different "
                  "checkpoint.");
  earlier_seconds_ = trained;
}

}  // namespace lightning
