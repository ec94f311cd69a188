#include <lightning/loops/train_epoch_loop.h>

#include <algorithm>
#include <utility>

#include <c10/util/ScopeExit.h>

#include <lightning/config/detail/duration.h>
#include <lightning/core/detail/metric_registry.h>
#include <lightning/loops/batch_transfer.h>
#include <lightning/loops/hooks.h>
#include <lightning/loops/lr_schedules.h>
#include <lightning/loops/metric_check.h>
#include <lightning/loops/nonfinite.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {

TrainEpochLoop::TrainEpochLoop(RunState& run, EvaluationLoop& validation,
                               CheckpointConnector& checkpoints)
    : run_(run), validation_(validation), checkpoints_(checkpoints), optimization_(run) {}

bool TrainEpochLoop::run() {
  num_batches_ = run_.num_training_batches();
  skipped_ = false;
  const bool between_batches = checkpoints_.take_restored() && run_.progress.batch_idx > 0;
  if (between_batches) {
    // With other limits the epoch may be over here, or continue after what was its last batch.
    const bool is_over = is_last_batch();
    if (!run_.progress.epoch_scheduled) run_.progress.epoch_scheduled = is_over;
    if (is_over) schedule_epoch();
  }
  if (between_batches && run_.progress.position == SafePoint::kBatchEnd) {
    // The checkpoint was written before the validation of that batch.
    if (validation_is_due(is_last_batch()) && !validate_after_batch()) return false;
  }
  while (!is_last_batch()) {
    if (must_stop()) return false;
    const auto began = std::chrono::steady_clock::now();
    const auto batch = next_batch(run_, run_.loaders.train_loader(), "train_next");
    if (!batch) break;
    ++run_.progress.batch_idx;  // is_last_batch() asks about the batches after this one
    const bool last_batch = is_last_batch();
    --run_.progress.batch_idx;
    const bool stepped = advance(*batch, last_batch);
    if (skipped_) {
      end_skipped_epoch();
      return true;
    }
    if (run_.batches.all() == 1) check_reserved_names(run_);
    if (stepped) log_step_row();
    run_.metrics.connector.poll();
    const bool validates = validation_is_due(last_batch);
    if (!validates) step_monitored();
    safe_point(SafePoint::kBatchEnd);
    count_time(began);
    if (validates && !validate_after_batch()) return false;
  }
  return true;
}

void TrainEpochLoop::count_time(std::chrono::steady_clock::time_point began) {
  // The first batches of a session warm caches and allocators.
  static constexpr int64_t kWarmUp = 10;
  if (++batches_in_session_ <= kWarmUp) return;
  run_.clock.training_seconds +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (!in_window_) ++run_.clock.timed_steps;
}

// The order of hooks is Lightning's (tests/golden/hooks/).
bool TrainEpochLoop::advance(const Batch& loaded, bool last_batch) {
  Progress& progress = run_.progress;
  const int64_t batch_idx = progress.batch_idx;
  const auto phase = run_.phases.enter(kTrainBatch, progress);
  const Batch batch = transfer_batch(run_, loaded);
  const UncountedMetrics uncounted(run_.context.module->registered_metrics(), batch.is_padding());
  const int64_t step = progress.global_step + (run_.trains() ? 1 : 0);  // what this batch is for
  skipped_ = !start_batch(batch, step);
  if (skipped_) return false;
  const StepOutput output = optimization_.run_batch(batch, batch_idx, last_batch);
  const bool stepped = optimization_.stepped();
  in_window_ = !last_batch && optimization_.in_window();
  if (stepped) {
    ++progress.global_step;
    step_schedules(run_, Interval::kStep);
  }
  if (last_batch) schedule_epoch();

  if (!loaded.is_padding()) progress.samples_seen += loaded.batch_size();
  ++progress.total_batches;
  ++progress.batch_idx;
  const auto end =
      run_.phases.enter(kTrainBatchEnd, progress, run_.metrics.train, step_scope(batch, step));
  run_.validation_follows = [this, last_batch] { return validation_is_due(last_batch); };
  call_hooks(run_, hooks::on_train_batch_end, output, batch, batch_idx);
  run_.validation_follows = nullptr;
  return stepped;
}

bool TrainEpochLoop::start_batch(const Batch& batch, int64_t step) {
  const auto phase = run_.phases.enter(kTrainBatchStart, run_.progress, run_.metrics.train,
                                       step_scope(batch, step));
  // Also by an exception.
  const auto done = c10::make_scope_exit([this] { run_.epoch_skip = EpochSkip::kImpossible; });
  run_.epoch_skip = EpochSkip::kPossible;
  call_hooks(run_, hooks::on_train_batch_start, batch, run_.progress.batch_idx);
  return run_.epoch_skip != EpochSkip::kRequested;
}

void TrainEpochLoop::end_skipped_epoch() {
  optimization_.drop_window();
  in_window_ = false;
  schedule_epoch();
}

bool TrainEpochLoop::validate_after_batch() {
  if (run_.stop.signal() != 0 && !in_window_) return false;
  if (!keeps_gradients()) call_module(run_, module_hooks::on_validation_model_zero_grad);
  // A validation in the middle of a window can't be made up for after a resume (checkpoints are
  // written between windows), so a signal doesn't end it.
  bool completed = false;
  try {
    completed = validation_.run_validation(/*may_stop=*/!in_window_);
  } catch (const MetricNameError& error) {
    if (in_window_) throw;  // half of the window's gradients can't be saved
    checkpoints_.save_and_throw(error);
  }
  if (!completed) return false;
  step_monitored();
  safe_point(SafePoint::kValidationEnd);
  return true;
}

bool TrainEpochLoop::keeps_gradients() const {
  const auto& pending = run_.progress.pending_gradients;
  return in_window_ || std::any_of(pending.begin(), pending.end(), [](PendingGradients one) {
           return one != PendingGradients::kNone;
         });
}

bool TrainEpochLoop::is_last_batch() {
  if (num_batches_ && run_.progress.batch_idx >= *num_batches_) return true;
  return !run_.loaders.train_loader().num_batches() && run_.loaders.train_loader().exhausted();
}

bool TrainEpochLoop::validation_is_due(bool last_batch) const {
  const TrainerOptions& options = run_.context.options.user;
  const Progress& progress = run_.progress;
  const BatchLimit& interval = options.val_check_interval;
  if (!validation_.enabled()) return false;
  if (!options.check_val_every_n_epoch) return progress.total_batches % interval.count() == 0;
  if ((progress.epoch + 1) % *options.check_val_every_n_epoch != 0) return false;
  // A run that ends here is looked at once more, as Lightning does.
  if (run_.stop.requested() && may_stop_early() && !in_window_ && run_.trains()) return true;
  if (interval.is_count()) return progress.batch_idx % interval.count() == 0;
  if (interval.fraction() == 1.0 || !num_batches_) return last_batch;
  const auto every = static_cast<int64_t>(interval.fraction() * static_cast<double>(*num_batches_));
  return progress.batch_idx % std::max<int64_t>(every, 1) == 0;
}

bool TrainEpochLoop::may_stop_early() const {
  return run_.progress.epoch >= run_.context.options.user.min_epochs.value_or(0) &&
         run_.progress.global_step >= run_.context.options.user.min_steps.value_or(0);
}

bool TrainEpochLoop::must_stop() {
  if (in_window_) return false;  // the window is finished first
  const auto& max_time = run_.context.options.user.max_time;
  if (max_time && run_.elapsed_seconds() >= static_cast<double>(max_time->count())) {
    run_.stop.request_time_limit();
  }
  run_.stop.at_boundary();
  if (run_.stop.requested() && !may_stop_early()) drop_early_stop();
  run_.end_reason = reason_to_stop();
  return !run_.end_reason.empty();
}

std::string TrainEpochLoop::reason_to_stop() const {
  if (run_.stop.signal() != 0) return detail::concat("signal ", run_.stop.signal());
  if (run_.stop.time_is_up()) {
    const auto max_time = run_.context.options.user.max_time.value_or(std::chrono::seconds(0));
    return detail::concat("max_time reached (", config::duration_text(max_time), ")");
  }
  // That epoch makes no step, and a model whose statistics are half renewed is of no use.
  if (!run_.trains()) return {};
  const int64_t max_steps = run_.context.options.max_steps;
  if (max_steps != -1 && run_.progress.global_step >= max_steps) {
    return detail::concat("max_steps=", max_steps, " reached");
  }
  if (!run_.stop.requested() || !may_stop_early()) return {};
  return run_.stop.reason().empty() ? "a stop was requested" : run_.stop.reason();
}

void TrainEpochLoop::drop_early_stop() {
  const TrainerOptions& options = run_.context.options.user;
  if (!std::exchange(said_dropped_, true)) {
    const std::string reason = run_.stop.reason();
    log_info(
        detail::concat("Trainer: a stop was requested", reason.empty() ? "" : " (" + reason + ")",
                       " before min_epochs=", options.min_epochs.value_or(0),
                       " and min_steps=", options.min_steps.value_or(0),
                       " were over; training continues, and requests before that are dropped."));
  }
  run_.stop.drop_request();
}

void TrainEpochLoop::log_step_row() {
  const int64_t every = run_.context.options.user.log_every_n_steps;
  if (every == 0 || run_.progress.global_step % every != 0) return;
  check_nonfinite(run_);
  const auto phase = run_.phases.enter(kStepMetrics, run_.progress);
  run_.metrics.reduce(run_.metrics.train, MetricLog::Level::kStep, kStepInterval);
  run_.metrics.connector.send(run_.metrics.train.take_step_row(), run_.progress.global_step,
                              run_.progress.epoch);
}

void TrainEpochLoop::schedule_epoch() {
  if (run_.progress.epoch_scheduled.value_or(false)) return;
  step_schedules(run_, Interval::kEpoch);
  run_.progress.epoch_scheduled = true;
}

void TrainEpochLoop::step_monitored() {
  // Inside a window their step waits for its end: a checkpoint falls between windows.
  if (!in_window_ && run_.trains()) step_monitored_schedules(run_, Interval::kStep);
}

void TrainEpochLoop::safe_point(SafePoint position) {
  if (in_window_) return;
  run_.progress.position = position;
  checkpoints_.write_requested();
}

}  // namespace lightning
