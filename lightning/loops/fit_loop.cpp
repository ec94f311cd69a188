#include <lightning/loops/fit_loop.h>

#include <utility>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/loops/hooks.h>
#include <lightning/loops/nonfinite.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {

void prepare_training_loader(RunState& run) {
  if (std::exchange(run.loaders.train_ready, true)) return;
  DataLoaders& loaders = run.loaders.train;
  if (loaders.empty()) loaders = call_data_module(run, data_hooks::train_dataloader);
  if (loaders.empty()) loaders = call_module(run, module_hooks::train_dataloader);
  LIGHTNING_CHECK(
      !loaders.empty(), ConfigError,
      "Trainer: there is no training data, fit() needs it. HINT: pass a DataLoader or a "
      "data module to fit(), or override train_dataloader().");
  LIGHTNING_CHECK(loaders.size() == 1, ConfigError, "Trainer: train_dataloader() gave ",
                  loaders.size(), " loaders, expected one.");
  const TrainerOptions& options = run.context.options.user;
  DataLoader& loader = loaders[0];
  loader.set_shard(run.context.shard(options.uneven_inputs));
  const std::optional<int64_t> available = loader.num_batches();
  LIGHTNING_CHECK(available != 0, DataError,
                  "Trainer: the training loader yields no batches. HINT: the data set is empty, or "
                  "drop_last drops its only batch.");
  const std::optional<int64_t> batches =
      limited_batches(options.limit_train_batches, loader, "limit_train_batches");
  const BatchLimit& interval = options.val_check_interval;
  LIGHTNING_CHECK(!interval.is_count() || !batches || !options.check_val_every_n_epoch ||
                      *batches == 0 || interval.count() <= *batches,
                  ConfigError, "Trainer: val_check_interval is ", interval.count(),
                  ", expected at most the ", batches.value_or(0),
                  " training batches of an epoch. HINT: set check_val_every_n_epoch: null to count "
                  "batches across epochs.");
  loader.set_default_pin_memory(run.context.options.device.is_cuda());
}

FitLoop::FitLoop(RunState& run, EvaluationLoop& validation, CheckpointConnector& checkpoints)
    : run_(run),
      validation_(validation),
      checkpoints_(checkpoints),
      epoch_loop_(run, validation, checkpoints) {}

void FitLoop::run() {
  // A resumed run was checked when it began.
  if (!checkpoints_.restored()) validation_.run_sanity_check();
  prepare_training_loader(run_);
  validation_.prepare_validation();
  checkpoints_.restore_data_and_generators();
  checkpoints_.release();
  if (run_.stop.signal() != 0) return;

  run_.context.module->train();
  {
    const auto phase =
        run_.phases.enter(kTrainStart, run_.progress, run_.metrics.train, epoch_scope());
    call_hooks(run_, hooks::on_train_start);
  }
  while (has_epochs_left() && !epoch_loop_.must_stop()) {
    begin_epoch();
    const bool completed = epoch_loop_.run();
    // A signal in the middle of an epoch leaves its end to the run that resumes.
    if (!completed && run_.stop.signal() != 0) break;
    end_epoch(completed);
    if (!completed) break;
  }
  if (run_.stop.signal() != 0) return;
  save_last_state();
  const auto phase = run_.phases.enter(kTrainEnd, run_.progress, run_.metrics.train, {});
  call_hooks(run_, hooks::on_train_end);
}

void FitLoop::save_last_state() {
  const bool trained = run_.progress.global_step > run_.clock.first_step;
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
  log_warning(detail::concat("Trainer: no checkpoint has the last state, after step ",
                             run_.progress.global_step, ", because ", reason));
}

bool FitLoop::has_epochs_left() const {
  const int64_t max_epochs = run_.context.options.max_epochs;
  return (max_epochs == -1 || run_.progress.epoch < max_epochs) && run_.num_training_batches() != 0;
}

void FitLoop::begin_epoch() {
  // In the middle of an epoch the loader was put to its place by the checkpoint.
  if (run_.progress.batch_idx > 0) return;
  checkpoints_.take_restored();
  run_.loaders.train_loader().begin_epoch(run_.progress.epoch);
  run_.metrics.train.reset_epoch();
  const bool is_first = run_.progress.global_step == run_.clock.first_step;
  const auto phase = run_.phases.enter(is_first ? kFirstEpochStart : kTrainEpochStart,
                                       run_.progress, run_.metrics.train, epoch_scope());
  call_hooks(run_, hooks::on_train_epoch_start);
}

void FitLoop::end_epoch(bool completed) {
  // An epoch that a limit cut short isn't counted: a run resumed from it continues in its middle.
  // Its end hooks run all the same; the rows they log are not part of what is resumed.
  if (!completed) {
    run_.metrics.saved_positions = run_.metrics.connector.positions();
    checkpoints_.freeze();
  }
  {
    const auto phase =
        run_.phases.enter(kTrainEpochEnd, run_.progress, run_.metrics.train, epoch_scope());
    call_epoch_end_hooks();
  }
  run_.stop.agree();
  check_nonfinite(run_);
  run_.metrics.connector.send(run_.metrics.train.epoch_row(), run_.progress.global_step,
                              run_.progress.epoch);
  if (completed) {
    ++run_.progress.epoch;
    run_.progress.batch_idx = 0;
    run_.progress.position = SafePoint::kEpochEnd;
  }
  checkpoints_.write_requested();
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
  run_.metrics.host.merge(run_.metrics.train.callback_row());
  call(/*monitoring=*/true);
}

}  // namespace lightning
