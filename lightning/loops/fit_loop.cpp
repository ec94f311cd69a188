#include <lightning/loops/fit_loop.h>

#include <utility>

#include <lightning/loops/checkpoint_connector.h>
#include <lightning/loops/evaluation_loop.h>
#include <lightning/loops/nonfinite.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

MetricLog::Scope epoch_scope(std::string_view hook) {
  MetricLog::Scope scope;
  scope.hook = hook;
  scope.allowed = true;
  scope.on_epoch = true;
  scope.in_step = false;
  return scope;
}

}  // namespace

void prepare_training_loader(RunState& run) {
  if (std::exchange(run.train_loaders_ready, true)) return;
  if (run.train_loaders.empty() && run.data_module) {
    run.train_loaders = run.data_module->train_dataloader();
  }
  if (run.train_loaders.empty()) run.train_loaders = run.module->train_dataloader();
  LIGHTNING_CHECK(
      !run.train_loaders.empty(), ConfigError,
      "Trainer: there is no training data, fit() needs it. HINT: pass a DataLoader or a "
      "data module to fit(), or override train_dataloader().");
  LIGHTNING_CHECK(run.train_loaders.size() == 1, ConfigError, "Trainer: train_dataloader() gave ",
                  run.train_loaders.size(), " loaders, expected one.");
  run.train_loader().set_shard(run.shard(run.options.user.uneven_inputs));
  const std::optional<int64_t> available = run.train_loader().num_batches();
  LIGHTNING_CHECK(available != 0, DataError,
                  "Trainer: the training loader has no batch. HINT: the data set is empty, or "
                  "drop_last drops its only batch.");
  const TrainerOptions& options = run.options.user;
  const std::optional<int64_t> batches =
      limited_batches(options.limit_train_batches, run.train_loader(), "limit_train_batches");
  const BatchLimit& interval = options.val_check_interval;
  LIGHTNING_CHECK(!interval.is_count() || !batches || !options.check_val_every_n_epoch ||
                      *batches == 0 || interval.count() <= *batches,
                  ConfigError, "Trainer: val_check_interval is ", interval.count(),
                  ", expected at most the ", batches.value_or(0),
                  " training batches of an epoch. HINT: set check_val_every_n_epoch: null to count "
                  "batches across epochs.");
  run.train_loader().set_default_pin_memory(run.options.device.is_cuda());
}

FitLoop::FitLoop(RunState& run, std::function<void()> ready, std::function<void()> save_point)
    : run_(run),
      ready_(std::move(ready)),
      save_point_(std::move(save_point)),
      validation_(run),
      epoch_loop_(run, validation_, save_point_) {}

void FitLoop::run() {
  LightningModule& module = *run_.module;
  // A resumed run was checked when it began.
  if (!run_.restored) validation_.run_sanity_check();
  prepare_training_loader(run_);
  validation_.prepare_validation();
  if (ready_) ready_();
  if (run_.pending_signal() != 0) return;

  module.train();
  run_.train_metrics.enter(epoch_scope("on_train_start"));
  call_callbacks(run_, &Callback::on_train_start);
  module.on_train_start();
  while (has_epochs_left() && !epoch_loop_.must_stop()) {
    begin_epoch();
    const bool completed = epoch_loop_.run();
    // A signal in the middle of an epoch leaves its end to the run that resumes.
    if (!completed && run_.pending_signal() != 0) break;
    end_epoch(completed);
    if (!completed) break;
  }
  if (run_.pending_signal() != 0) return;
  run_.train_metrics.enter({.hook = "on_train_end"});
  call_callbacks(run_, &Callback::on_train_end);
  module.on_train_end();
}

bool FitLoop::has_epochs_left() const {
  const int64_t max_epochs = run_.options.max_epochs;
  return (max_epochs == -1 || run_.progress.epoch < max_epochs) && run_.num_training_batches() != 0;
}

void FitLoop::begin_epoch() {
  // In the middle of an epoch the loader was put to its place by the checkpoint.
  if (run_.progress.batch_idx > 0) return;
  run_.restored = false;
  run_.train_loader().begin_epoch(run_.progress.epoch);
  run_.train_metrics.reset_epoch();
  run_.train_metrics.enter(epoch_scope("on_train_epoch_start"));
  call_callbacks(run_, &Callback::on_train_epoch_start);
  run_.module->on_train_epoch_start();
}

void FitLoop::end_epoch(bool completed) {
  // An epoch that a limit cut short isn't counted: a run resumed from it goes on in its middle. Its
  // end hooks run all the same; the rows they log are not part of what is resumed.
  if (!completed) run_.logger_positions = logger_positions(run_);
  run_.enter_section(DryRun::kEpochEnd);
  run_.train_metrics.enter(epoch_scope("on_train_epoch_end"));
  const auto call = [this](bool monitoring) {
    for (const auto& callback : run_.callbacks) {
      if (callback->monitors() == monitoring) {
        callback->on_train_epoch_end(run_.context, *run_.module);
      }
    }
  };
  call(/*monitoring=*/false);
  run_.module->on_train_epoch_end();
  run_.reduce_metrics(run_.train_metrics, MetricLog::Level::kEpoch, kTrainingEpoch);
  run_.host_metrics.merge(run_.train_metrics.callback_row());
  call(/*monitoring=*/true);
  run_.stop.agree();
  check_nonfinite(run_);
  run_.logger_connector.send(run_.train_metrics.epoch_row(), run_.progress.global_step,
                             run_.progress.epoch);
  if (completed) {
    ++run_.progress.epoch;
    run_.progress.batch_idx = 0;
    run_.progress.position = SafePoint::kEpochEnd;
  }
  save_point_();
  run_.logger_positions.reset();
}

}  // namespace lightning
