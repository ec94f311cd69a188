#include <lightning/loops/fit_loop.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/data/combined_loader.h>
#include <lightning/loops/ask_loaders.h>
#include <lightning/loops/fit_checks.h>
#include <lightning/loops/hooks.h>
#include <lightning/loops/lr_schedules.h>
#include <lightning/loops/metric_check.h>
#include <lightning/loops/nonfinite.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

/// The option that the limit of the training batches comes from.
std::string_view train_limit_name(const TrainerOptions& options) {
  return overfits(options) ? "overfit_batches" : "limit_train_batches";
}

void load_training_data(RunState& run) {
  DataLoaders& loaders = run.loaders.train;
  if (loaders.empty()) {
    loaders = ask_for_loaders(run, data_hooks::train_dataloader, module_hooks::train_dataloader);
  }
  LIGHTNING_CHECK(
      !loaders.empty(), ConfigError,
      "Trainer: there is no training data, fit() needs it. HINT: pass a DataLoader or a "
      "data module to fit(), or override train_dataloader().");
  // Lightning's default for several.
  if (loaders.size() > 1) loaders = DataLoaders(std::make_shared<CombinedLoader>(loaders));
  const TrainerOptions& options = run.context.options.user;
  BatchSource& loader = loaders[0];
  const auto* combined = dynamic_cast<const CombinedLoader*>(&loader);
  LIGHTNING_CHECK(combined == nullptr || combined->mode() != CombineMode::kSequential, ConfigError,
                  "Trainer: the training loader is a CombinedLoader with mode sequential, expected "
                  "max_size_cycle, min_size or max_size. HINT: sequential is for evaluations.");
  loader.set_shard(run.context.shard(options.uneven_inputs));
  loader.check();
  loader.set_fixed_order(overfits(options));
  if (overfits(options) && loader.has_own_order()) {
    run.warn(detail::concat("Trainer: overfit_batches is ", options.overfit_batches.to_text(),
                            ", so the training loader gives its samples in the data set's order."));
  }
  const std::optional<int64_t> available = loader.num_batches();
  LIGHTNING_CHECK(available != 0, DataError, "Trainer: the training loader has no batches, since ",
                  loader.why_no_batches());
  const std::optional<int64_t> batches =
      limited_batches(options.limit_train_batches, loader, train_limit_name(options));
  const BatchLimit& interval = options.val_check_interval;
  LIGHTNING_CHECK(!interval.is_count() || !batches || !options.check_val_every_n_epoch ||
                      *batches == 0 || interval.count() <= *batches,
                  ConfigError, "Trainer: val_check_interval is ", interval.count(),
                  ", expected at most the ", batches.value_or(0),
                  " training batches of an epoch. HINT: set check_val_every_n_epoch: null to count "
                  "batches across epochs.");
  loader.set_default_pin_memory(run.context.options.device.is_cuda());
}

}  // namespace

void prepare_training_loader(RunState& run) {
  if (run.loaders.train_epoch) return;
  // Before the hook that gives the loaders, which may come here again.
  run.loaders.train_epoch = loaders_epoch(run);
  try {
    load_training_data(run);
  } catch (...) {
    // A module may catch it and continue; there is no checked loader all the same.
    run.loaders.train_epoch.reset();
    throw;
  }
}

void reload_training_loader(RunState& run) {
  if (run.loaders.train_given || run.loaders.train_epoch == loaders_epoch(run)) return;
  run.loaders.train = {};
  run.loaders.train_epoch.reset();
  prepare_training_loader(run);
}

FitLoop::FitLoop(RunState& run, EvaluationLoop& validation, CheckpointConnector& checkpoints)
    : run_(run),
      validation_(validation),
      checkpoints_(checkpoints),
      epoch_loop_(run, validation, checkpoints),
      renewal_(*run.context.module) {}

void FitLoop::prepare() {
  const bool resumed = checkpoints_.restored();
  check_file_names(run_);
  check_barebones_schedules(run_);
  // A resumed run was checked when it began.
  if (!resumed) {
    validation_.run_sanity_check();
  } else if (run_.context.options.user.num_sanity_val_steps != 0) {
    check_metrics(run_, MetricsKnown::kAfterResume);
  }
  // A module that counts the run's steps in setup() had the loader of epoch 0.
  reload_training_loader(run_);
  prepare_training_loader(run_);
  validation_.prepare_validation();
  check_schedule_lengths(run_);
  checkpoints_.restore_data_and_generators();
  const bool interrupted = run_.stop.signal() != 0;
  if (!validation_.sanity_checked() && !interrupted) {
    warn_of_unchecked_metrics(run_);
  }
  checkpoints_.release();
}

void FitLoop::run() {
  if (run_.stop.signal() != 0) return;
  check_averaging(run_);
  warn_of_plan(run_, validation_);

  run_.context.module->train();
  {
    const auto phase =
        run_.phases.enter(kTrainStart, run_.progress, run_.metrics.train, epoch_scope());
    call_hooks(run_, hooks::on_train_start);
  }
  while (has_epochs_left() && !epoch_loop_.must_stop()) {
    const Progress before = run_.progress;
    const BatchCounts counts = run_.batches;
    begin_epoch();
    if (!run_.trains()) renewal_.begin(/*anew=*/run_.progress.batch_idx == 0);
    const bool completed = epoch_loop_.run();
    if (completed && before.batch_idx == 0) check_epoch(before, counts);
    // A signal in the middle of an epoch leaves its end to the run that resumes.
    if (!completed && run_.stop.signal() != 0) break;
    end_epoch(completed);
    if (!completed) break;
  }
  if (run_.stop.signal() != 0) return;
  renewal_.end();
  save_last_state();
  const auto phase = run_.phases.enter(kTrainEnd, run_.progress, run_.metrics.train, {});
  call_hooks(run_, hooks::on_train_end);
  warn_of_nothing_done(run_);
}

void FitLoop::save_last_state() {
  // Not by steps of this session: an epoch that renews statistics makes none.
  const bool trained = run_.progress.global_step > 0;
  if (!trained || checkpoints_.present_state_is_settled()) return;
  std::string reason;
  for (const auto& callback : run_.context.callbacks) {
    auto* checkpoint = dynamic_cast<ModelCheckpoint*>(callback.get());
    if (checkpoint == nullptr) continue;
    const std::string why_not = checkpoint->save_last_state(run_.context.trainer);
    if (why_not.empty()) return checkpoints_.write_requested();
    if (reason.empty()) reason = why_not;
  }
  if (reason.empty()) return;  // checkpointing is off
  run_.warn(detail::concat("Trainer: no checkpoint has the last state, after step ",
                           run_.progress.global_step, ", because ", reason));
}

bool FitLoop::has_epochs_left() {
  const int64_t max_epochs = run_.context.options.max_epochs;
  if (run_.num_training_batches() == 0) {
    const TrainerOptions& options = run_.context.options.user;
    run_.end_reason = detail::concat("there are no training batches (", train_limit_name(options),
                                     " is ", options.limit_train_batches.to_text(), ")");
    return false;
  }
  const int64_t trained_epochs = run_.progress.epoch - (run_.renews_statistics ? 1 : 0);
  if (max_epochs == -1 || trained_epochs < max_epochs) return true;
  // Both came with the last epoch's end: what asked for the stop knows more.
  const bool asked = run_.stop.requested() && epoch_loop_.may_stop_early();
  run_.end_reason = asked && !run_.stop.reason().empty()
                        ? run_.stop.reason()
                        : detail::concat("max_epochs=", max_epochs, " reached");
  return false;
}

void FitLoop::check_epoch(const Progress& before, const BatchCounts& counts) {
  if (epoch_loop_.skipped() && run_.progress.total_batches == before.total_batches) {
    if (std::exchange(run_.said_nothing_trained, true)) return;
    run_.warn(detail::concat(
        "Trainer: epoch ", run_.progress.epoch,
        " was skipped before its first batch by skip_rest_of_epoch(), nothing was trained in it."));
    return;
  }
  if (run_.progress.total_batches > before.total_batches) {
    warn_of_skipped_epoch(run_, before, counts);
    return;
  }
  // A stream that gives nothing would do so forever.
  const std::string text =
      detail::concat("the training data gave no batch in epoch ", run_.progress.epoch);
  LIGHTNING_CHECK(run_.progress.total_batches > 0 && epoch_loop_.may_stop_early(), DataError,
                  "Trainer: ", text,
                  ", expected at least one. HINT: check begin_epoch() and next() of the stream.");
  run_.warn(detail::concat("Trainer: ", text,
                           ", the fit ends. HINT: begin_epoch() of the stream must begin anew."));
  run_.stop.request(text);
}

void FitLoop::begin_epoch() {
  // In the middle of an epoch the loader was put to its place by the checkpoint.
  if (run_.progress.batch_idx > 0) return;
  checkpoints_.take_restored();
  run_.progress.renews_statistics = !run_.trains();
  reload_training_loader(run_);
  run_.loaders.train_loader().begin_epoch(run_.progress.epoch);
  run_.metrics.train.reset_epoch();
  // That epoch makes no step: what was logged before is told apart from its values all the same.
  if (!run_.trains()) run_.metrics.host.limit_steps(run_.progress.global_step - 1);
  const bool is_first = run_.progress.global_step == run_.clock.first_step;
  const auto phase = run_.phases.enter(is_first ? kFirstEpochStart : kTrainEpochStart,
                                       run_.progress, run_.metrics.train, epoch_scope());
  call_hooks(run_, hooks::on_train_epoch_start);
}

void FitLoop::end_epoch(bool completed) {
  run_.epoch_completed = completed;
  // An epoch that a limit cut short isn't counted: a run resumed from it continues in its middle.
  // Its end hooks run all the same; the rows they log are not part of what is resumed.
  if (!completed) {
    run_.metrics.saved_positions = run_.metrics.connector.positions();
    checkpoints_.freeze();
  }
  std::optional<MetricNameError> refused;
  try {
    const auto phase =
        run_.phases.enter(kTrainEpochEnd, run_.progress, run_.metrics.train, epoch_scope());
    call_epoch_end_hooks();
    if (completed && run_.trains()) step_monitored_schedules(run_, Interval::kEpoch);
  } catch (const MetricNameError& error) {
    refused = error;
  }
  run_.stop.agree();
  check_nonfinite(run_);
  if (!refused || !refused->is_reserved()) {
    run_.metrics.connector.send(run_.metrics.train.epoch_row(), run_.progress.global_step,
                                run_.progress.epoch);
  }
  if (completed) count_epoch();
  if (refused) checkpoints_.save_and_throw(*refused);
  checkpoints_.write_requested();
}

void FitLoop::count_epoch() {
  ++run_.progress.epoch;
  run_.progress.batch_idx = 0;
  run_.progress.epoch_scheduled = false;
  run_.progress.position = SafePoint::kEpochEnd;
}

void FitLoop::call_epoch_end_hooks() {
  const auto call = [this](bool monitoring) {
    for (const auto& callback : run_.context.callbacks) {
      if (callback->monitors() != monitoring) continue;
      call_callback(run_, *callback, hooks::on_train_epoch_end);
    }
  };
  call(/*monitoring=*/false);
  call_module(run_, hooks::on_train_epoch_end);
  run_.metrics.reduce(run_.metrics.train, MetricLog::Level::kEpoch, kEpochInterval);
  run_.metrics.train.end_epoch(run_.progress.global_step);
  // Of batches whose step didn't come callbacks may have read values already, on some ranks only.
  run_.metrics.host.limit_steps(run_.progress.global_step);
  run_.metrics.host.merge(run_.metrics.train.callback_row());
  check_metrics(run_, MetricsKnown::kAfterEpoch);
  call(/*monitoring=*/true);
}

}  // namespace lightning
