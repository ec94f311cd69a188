#include <lightning/loops/train_epoch_loop.h>

#include <algorithm>
#include <utility>

#include <lightning/loops/batch_transfer.h>
#include <lightning/loops/nonfinite.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

// Which hooks may log, and at which level by default (docs/hooks.md).
MetricLog::Scope step_scope(std::string_view hook, const Batch& batch) {
  MetricLog::Scope scope;
  scope.hook = hook;
  scope.allowed = true;
  scope.on_step = true;
  // A batch whose collate set no size weighs as one, a filler as nothing.
  scope.batch_size =
      batch.is_padding() ? 0.0 : static_cast<double>(std::max<int64_t>(batch.batch_size(), 1));
  return scope;
}

}  // namespace

TrainEpochLoop::TrainEpochLoop(RunState& run, EvaluationLoop& validation,
                               std::function<void()> save_point)
    : run_(run), validation_(validation), optimization_(run), save_point_(std::move(save_point)) {}

bool TrainEpochLoop::run() {
  num_batches_ = run_.num_training_batches();
  const bool between_batches = std::exchange(run_.restored, false) && run_.progress.batch_idx > 0;
  if (between_batches && run_.progress.position == SafePoint::kBatchEnd) {
    // The checkpoint was written before the validation of that batch.
    if (!finish_batch(is_last_batch())) return false;
  }
  while (!is_last_batch()) {
    if (must_stop()) return false;
    const auto began = std::chrono::steady_clock::now();
    std::optional<Batch> batch = run_.train_loader().next();
    if (!batch) break;
    ++run_.progress.batch_idx;  // is_last_batch() asks about the batches after this one
    const bool last_batch = is_last_batch();
    --run_.progress.batch_idx;
    advance(*batch, last_batch);
    count_time(began);
    if (!finish_batch(last_batch)) return false;
  }
  return true;
}

void TrainEpochLoop::count_time(std::chrono::steady_clock::time_point began) {
  // The first batches of a session warm caches and allocators.
  static constexpr int64_t kWarmUp = 10;
  if (++batches_in_session_ <= kWarmUp) return;
  run_.training_seconds +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (!in_window_) ++run_.timed_steps;
}

// Runs one batch. The order of hooks is Lightning's (tests/golden/hooks/).
void TrainEpochLoop::advance(const Batch& loaded, bool last_batch) {
  Progress& progress = run_.progress;
  LightningModule& module = *run_.module;
  const int64_t batch_idx = progress.batch_idx;
  run_.enter_section(DryRun::kStep);
  run_.set_status("training_step");
  const Batch batch = transfer_batch(module, *run_.precision, run_.options.device, loaded);

  run_.train_metrics.enter(step_scope("on_train_batch_start", batch));
  call_callbacks(run_, &Callback::on_train_batch_start, batch, batch_idx);
  module.on_train_batch_start(batch, batch_idx);

  run_.train_metrics.enter(step_scope("training_step", batch));
  in_window_ = !last_batch && (batch_idx + 1) % run_.options.user.accumulate_grad_batches != 0;
  const StepOutput output = optimization_.run_batch(batch, batch_idx, /*ends_window=*/!in_window_);
  const bool stepped = !in_window_ && optimization_.stepped();
  if (stepped) {
    ++progress.global_step;
    step_schedulers(Interval::kStep);
  }
  if (last_batch) step_schedulers(Interval::kEpoch);

  if (!loaded.is_padding()) progress.samples_seen += loaded.batch_size();
  ++progress.total_batches;
  ++progress.batch_idx;
  run_.train_metrics.enter(step_scope("on_train_batch_end", batch));
  call_callbacks(run_, &Callback::on_train_batch_end, output, batch, batch_idx);
  module.on_train_batch_end(output, batch, batch_idx);

  if (stepped) log_step_row();
  run_.logger_connector.poll();
  safe_point(SafePoint::kBatchEnd);
}

bool TrainEpochLoop::finish_batch(bool last_batch) {
  if (!validation_is_due(last_batch)) return true;
  if (run_.pending_signal() != 0 && !in_window_) return false;
  if (!in_window_) run_.module->on_validation_model_zero_grad();
  // A validation in the middle of a window can't be made up for after a resume (checkpoints are
  // written between windows), so a signal doesn't end it.
  const bool completed = validation_.run_validation(/*may_stop=*/!in_window_);
  if (completed) safe_point(SafePoint::kValidationEnd);
  return completed;
}

bool TrainEpochLoop::is_last_batch() {
  if (num_batches_ && run_.progress.batch_idx >= *num_batches_) return true;
  return !run_.train_loader().num_batches() && run_.train_loader().exhausted();
}

bool TrainEpochLoop::validation_is_due(bool last_batch) const {
  const TrainerOptions& options = run_.options.user;
  const Progress& progress = run_.progress;
  const BatchLimit& interval = options.val_check_interval;
  if (!validation_.enabled()) return false;
  if (!options.check_val_every_n_epoch) return progress.total_batches % interval.count() == 0;
  if ((progress.epoch + 1) % *options.check_val_every_n_epoch != 0) return false;
  // A run that ends here is looked at once more, as Lightning does.
  if (run_.stop.requested() && may_stop_early() && !in_window_) return true;
  if (interval.is_count()) return progress.batch_idx % interval.count() == 0;
  if (interval.fraction() == 1.0 || !num_batches_) return last_batch;
  const auto every = static_cast<int64_t>(interval.fraction() * static_cast<double>(*num_batches_));
  return progress.batch_idx % std::max<int64_t>(every, 1) == 0;
}

bool TrainEpochLoop::may_stop_early() const {
  return run_.progress.epoch >= run_.options.user.min_epochs.value_or(0) &&
         run_.progress.global_step >= run_.options.user.min_steps.value_or(0);
}

bool TrainEpochLoop::must_stop() {
  if (in_window_) return false;  // the window is finished first
  const auto& max_time = run_.options.user.max_time;
  if (max_time && run_.elapsed_seconds() >= static_cast<double>(max_time->count())) {
    run_.stop.request_time_limit();
  }
  run_.stop.at_boundary();
  if (run_.pending_signal() != 0 || run_.stop.time_is_up()) return true;
  const int64_t max_steps = run_.options.max_steps;
  if (max_steps != -1 && run_.progress.global_step >= max_steps) return true;
  return run_.stop.requested() && may_stop_early();
}

void TrainEpochLoop::log_step_row() {
  const int64_t every = run_.options.user.log_every_n_steps;
  if (every == 0 || run_.progress.global_step % every != 0) return;
  check_nonfinite(run_);
  run_.enter_section(DryRun::kStepMetrics);
  run_.reduce_metrics(run_.train_metrics, MetricLog::Level::kStep, kTrainingStep);
  run_.logger_connector.send(run_.train_metrics.take_step_row(), run_.progress.global_step,
                             run_.progress.epoch);
}

void TrainEpochLoop::step_schedulers(Interval interval) {
  for (OptimizerConfig& config : run_.optimizers) {
    LRSchedulerConfig& schedule = config.lr_scheduler;
    if (schedule.scheduler == nullptr || schedule.interval != interval) continue;
    const int64_t count =
        interval == Interval::kStep ? run_.progress.global_step : run_.progress.epoch + 1;
    if (count % schedule.frequency == 0) run_.module->lr_scheduler_step(*schedule.scheduler);
  }
}

void TrainEpochLoop::safe_point(SafePoint position) {
  if (in_window_) return;
  run_.progress.position = position;
  save_point_();
}

}  // namespace lightning
