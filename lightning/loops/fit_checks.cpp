#include <lightning/loops/fit_checks.h>

#include <unistd.h>

#include <algorithm>
#include <limits>
#include <string>

#include <lightning/callbacks/detail/filename_template.h>
#include <lightning/callbacks/gradient_accumulation_scheduler.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/callbacks/stochastic_weight_averaging.h>
#include <lightning/callbacks/weight_averaging.h>
#include <lightning/checkpoint/detail/names.h>
#include <lightning/optim/lr_scheduler.h>
#include <lightning/run/detail/run_folder.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

namespace fs = std::filesystem;

/// Whether a multiple of `every` (> 0) lies in (first, last].
bool comes_in(int64_t every, int64_t first, int64_t last) { return last / every > first / every; }

/// A run that writes nothing and ends after some steps says nothing of longer plans.
bool is_trial(const RunState& run) {
  return run.context.options.user.fast_dev_run.batches() > 0 || run.context.options.user.dry_run;
}

template <typename Visit>
void for_each_checkpoint_callback(const RunState& run, Visit&& visit) {
  for (const auto& callback : run.context.callbacks) {
    const auto* checkpoint = dynamic_cast<const ModelCheckpoint*>(callback.get());
    if (checkpoint != nullptr) visit(*checkpoint);
  }
}

/// Steps of every epoch; nothing when they are unknown or differ.
std::optional<int64_t> steps_of_each_epoch(const RunState& run) {
  const bool differ = GradientAccumulationScheduler::find(run.context.callbacks) != nullptr;
  const std::optional<int64_t> steps = differ ? std::nullopt : run.steps_per_epoch();
  return steps == 0 ? std::nullopt : steps;
}

/// Completed epochs when the fit has reached its limits; nothing when unknown.
std::optional<int64_t> planned_epochs(const RunState& run) {
  const int64_t max_epochs = run.context.options.max_epochs;
  const std::optional<int64_t> steps = run.planned_steps();
  const std::optional<int64_t> per_epoch = steps_of_each_epoch(run);
  if (!steps || !per_epoch) {
    return max_epochs == -1 ? std::nullopt : std::optional(max_epochs);
  }
  const int64_t epochs = *steps / *per_epoch;
  return max_epochs == -1 ? epochs : std::min(epochs, max_epochs);
}

/// Epochs that will have begun then, one that a limit cuts short included; nothing when unknown.
std::optional<int64_t> begun_epochs(const RunState& run) {
  const int64_t max_epochs = run.context.options.max_epochs;
  const std::optional<int64_t> steps = run.planned_steps();
  const std::optional<int64_t> per_epoch = steps_of_each_epoch(run);
  if (!steps || !per_epoch) {
    return max_epochs == -1 ? std::nullopt : std::optional(max_epochs);
  }
  const int64_t epochs = *steps / *per_epoch + (*steps % *per_epoch == 0 ? 0 : 1);
  return max_epochs == -1 ? epochs : std::min(epochs, max_epochs);
}

bool log_interval_never_comes(const RunState& run, int64_t last_step) {
  const int64_t every = run.context.options.user.log_every_n_steps;
  if (run.context.loggers.empty() || every == 0) return false;
  return last_step > run.clock.first_step && !comes_in(every, run.clock.first_step, last_step);
}

void warn_of_log_interval(const RunState& run, int64_t planned) {
  if (!log_interval_never_comes(run, planned)) return;
  const int64_t every = run.context.options.user.log_every_n_steps;
  const int64_t steps = planned - run.clock.first_step;
  run.warn(detail::concat("Trainer: log_every_n_steps is ", every, " and this fit has ", steps,
                          " steps (", run.clock.first_step, " to ", planned,
                          "), so no row of step metrics is logged. HINT: set it to at most ", steps,
                          "."));
}

void warn_of_validation(const RunState& run, const EvaluationLoop& validation) {
  const TrainerOptions& user = run.context.options.user;
  if (!run.loaders.validation.empty() && leaves_none(user.limit_val_batches)) {
    run.warn(
        "Trainer: limit_val_batches is 0, so the fit runs no validation. HINT: use 1.0 for all "
        "batches.");
    return;
  }
  const std::optional<int64_t> batches = run.num_training_batches();
  const int64_t max_epochs = run.context.options.max_epochs;
  if (!validation.enabled()) return;
  if (user.check_val_every_n_epoch) {
    const std::optional<int64_t> epochs = planned_epochs(run);
    const int64_t every = *user.check_val_every_n_epoch;
    if (!epochs || every == 1 || comes_in(every, run.progress.epoch, *epochs)) return;
    run.warn(detail::concat(
        "Trainer: check_val_every_n_epoch is ", every, " and the fit ends after epoch ", *epochs,
        ", so no validation runs. HINT: set it to at most ", std::max<int64_t>(*epochs, 1), "."));
  } else if (batches && max_epochs != -1) {
    const int64_t every = user.val_check_interval.count();
    int64_t in_all = 0;
    const bool endless = __builtin_mul_overflow(*batches, max_epochs, &in_all);
    if (endless || comes_in(every, run.progress.total_batches, in_all)) return;
    run.warn(detail::concat("Trainer: val_check_interval is ", every, " and the fit has ", in_all,
                            " training batches, so no validation runs. HINT: set it to at most ",
                            in_all, "."));
  }
}

void warn_of_checkpoint_intervals(const RunState& run, std::optional<int64_t> planned) {
  for_each_checkpoint_callback(run, [&](const ModelCheckpoint& checkpoint) {
    const ModelCheckpointOptions& options = checkpoint.options();
    if (options.save_top_k == 0 && !options.save_last) return;
    const int64_t steps = options.every_n_train_steps;
    if (steps > 0 && planned && !comes_in(steps, run.progress.global_step, *planned)) {
      run.warn(detail::concat(
          "ModelCheckpoint: every_n_train_steps is ", steps, " and the fit ends at step ", *planned,
          ", so its interval never comes. HINT: set it to at most ", *planned, "."));
    }
    const int64_t epochs = checkpoint.every_n_epochs();
    const std::optional<int64_t> last = planned_epochs(run);
    if (steps > 0 || epochs <= 1 || !last || comes_in(epochs, run.progress.epoch, *last)) return;
    run.warn(detail::concat("ModelCheckpoint: every_n_epochs is ", epochs,
                            " and the fit ends after epoch ", *last,
                            ", so its interval never comes. HINT: set it to at most ",
                            std::max<int64_t>(*last, 1), "."));
  });
}

void warn_of_schedules(const RunState& run) {
  // Else the module decides when they step.
  if (!run.context.module->automatic_optimization()) return;
  // With max_time the fit may end before its steps are done.
  for (const OptimizerConfig& config : run.context.optimizers) {
    for (const LRSchedulerConfig& schedule : config.lr_scheduler) {
      const auto intervals = planned_intervals(run, schedule.interval);
      if (!intervals || *intervals < schedule.frequency) continue;
      const std::string text = schedule.scheduler->mismatch(*intervals / schedule.frequency);
      if (!text.empty()) run.warn(text);
    }
  }
}

/// What became of the batches that had no loss.
std::string skipped_text(int64_t skipped, int64_t undefined) {
  std::string text;
  if (skipped > 0) text = detail::concat("StepOutput::skip() for ", skipped);
  if (undefined > 0) {
    text += detail::concat(text.empty() ? "" : " and ", "an undefined tensor for ", undefined);
  }
  return text;
}

std::string no_row_reason(const RunState& run) {
  const int64_t every = run.context.options.user.log_every_n_steps;
  if (run.metrics.train.empty() && run.metrics.evaluation.empty()) {
    return "the module logged nothing. HINT: call log() in its steps.";
  }
  if (every == 0) return "log_every_n_steps is 0. HINT: set it to 1 or more.";
  return detail::concat("log_every_n_steps is ", every, " and the fit went from step ",
                        run.clock.first_step, " to ", run.progress.global_step,
                        ". HINT: set it to a smaller number.");
}

}  // namespace

void check_file_names(const RunState& run) {
  if (run.context.run_dir.empty() || is_trial(run)) return;
  for_each_checkpoint_callback(run, [&](const ModelCheckpoint& checkpoint) {
    const ModelCheckpointOptions& options = checkpoint.options();
    FilenameValues values;
    for (const std::string& name : names_in_template(options.filename)) values[name] = -1.23457e-05;
    const int64_t max_epochs = run.context.options.max_epochs;
    const int64_t max_steps = run.context.options.max_steps;
    values["epoch"] = static_cast<double>(max_epochs == -1 ? 999'999 : max_epochs);
    values["step"] = static_cast<double>(max_steps == -1 ? 99'999'999 : max_steps);
    // A second one of that name, while it is removed: .trash-NAME-v1.ckpt-PID.
    const std::string longest =
        detail::concat(".trash-", format_filename(options.filename, values), "-v1",
                       detail::kCheckpointSuffix, "-", std::numeric_limits<int32_t>::max());
    const fs::path folder =
        options.dirpath.empty() ? checkpoints_folder(run.context.run_dir) : options.dirpath;
    const int64_t limit = ::pathconf(folder.c_str(), _PC_NAME_MAX);
    const auto length = static_cast<int64_t>(longest.size());
    LIGHTNING_CHECK(limit <= 0 || length <= limit, ConfigError, "ModelCheckpoint: filename is \"",
                    options.filename, "\", which makes names of up to ", length,
                    " bytes (with their suffixes), expected at most the ", limit,
                    " that the file system of ", folder.string(), " allows. HINT: shorten it by ",
                    length - limit, " or more.");
  });
}

void check_averaging(const RunState& run) {
  if (is_trial(run) || run.num_training_batches() == 0) return;
  const int64_t max_epochs = run.context.options.max_epochs;
  for (const auto& callback : run.context.callbacks) {
    if (const auto* average = dynamic_cast<const WeightAveraging*>(callback.get())) {
      average->check_plan(run.planned_steps(), begun_epochs(run));
    }
    if (const auto* average = dynamic_cast<const StochasticWeightAveraging*>(callback.get())) {
      average->check_plan(max_epochs == -1 ? std::nullopt : std::optional(max_epochs),
                          begun_epochs(run));
    }
  }
}

std::optional<int64_t> planned_intervals(const RunState& run, Interval interval) {
  return interval == Interval::kStep ? run.planned_steps() : planned_epochs(run);
}

void warn_of_plan(const RunState& run, const EvaluationLoop& validation) {
  if (is_trial(run) || run.num_training_batches() == 0) return;
  const std::optional<int64_t> planned = run.planned_steps();
  // Nothing is left to train: said at the end.
  if (planned && *planned <= run.progress.global_step) return;
  if (planned) warn_of_log_interval(run, *planned);
  warn_of_validation(run, validation);
  warn_of_checkpoint_intervals(run, planned);
  warn_of_schedules(run);
}

void warn_of_skipped_epoch(RunState& run, const Progress& before, const BatchCounts& counts) {
  // Other ranks may have had losses.
  if (run.progress.global_step > before.global_step || run.said_nothing_trained) return;
  const int64_t skipped = run.batches.skipped - counts.skipped;
  const int64_t undefined = run.batches.undefined - counts.undefined;
  if (skipped + undefined == 0) return;
  run.said_nothing_trained = true;
  run.warn(detail::concat("Trainer: no step was made in epoch ", run.progress.epoch, ", since ",
                          "training_step() returned ", skipped_text(skipped, undefined), " of ",
                          run.batches.all() - counts.all(),
                          " batches. HINT: return the loss of the batch."));
}

void warn_of_nothing_done(const RunState& run) {
  if (run.context.options.user.dry_run) return;
  const int64_t steps = run.progress.global_step - run.clock.first_step;
  // None in a session that only renews statistics.
  const int64_t without_loss = run.batches.skipped + run.batches.undefined;
  if (steps == 0 && run.batches.all() == 0 && !run.said_nothing_trained) {
    const bool resumed = run.clock.first_step > 0 || run.progress.epoch > 0;
    run.warn(
        detail::concat("Trainer: nothing was trained: ", run.end_reason,
                       resumed ? detail::concat(", the checkpoint is of epoch ", run.progress.epoch,
                                                " and step ", run.progress.global_step)
                               : std::string(),
                       ". HINT: raise that limit."));
  } else if (steps == 0 && without_loss > 0 && !run.said_nothing_trained) {
    run.warn(detail::concat("Trainer: no step was made, since training_step() returned ",
                            skipped_text(run.batches.skipped, run.batches.undefined), " of ",
                            run.batches.all(), " batches. HINT: return the loss of the batch."));
  }
  const bool no_row =
      steps > 0 && !run.context.loggers.empty() && run.metrics.connector.rows() == 0;
  const std::optional<int64_t> planned = run.planned_steps();
  const bool said =
      planned && log_interval_never_comes(run, *planned) && !run.metrics.train.empty();
  if (no_row && !said) {
    run.warn("Trainer: no row of metrics was logged, since " + no_row_reason(run));
  }
}

}  // namespace lightning
