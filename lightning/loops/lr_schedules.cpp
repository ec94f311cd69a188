#include <lightning/loops/lr_schedules.h>

#include <bit>
#include <charconv>
#include <optional>
#include <string>
#include <system_error>
#include <unordered_set>
#include <utility>

#include <lightning/loops/fit_checks.h>
#include <lightning/loops/hooks.h>
#include <lightning/optim/lr_scheduler.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

/// Calls visit(LRSchedulerConfig) for the schedules of all optimizers.
template <typename Visit>
void for_each_schedule(const RunState& run, Visit&& visit) {
  for (const OptimizerConfig& config : run.context.optimizers) {
    for (const LRSchedulerConfig& schedule : config.lr_scheduler) visit(schedule);
  }
}

bool is_due(const RunState& run, const LRSchedulerConfig& schedule, Interval interval) {
  if (schedule.interval != interval) return false;
  const int64_t count =
      interval == Interval::kStep ? run.progress.global_step : run.progress.epoch + 1;
  return count % schedule.frequency == 0;
}

/// "ReduceLROnPlateau" of "ReduceLROnPlateau(mode=min, ...)".
std::string class_of(const optim::LRScheduler& scheduler) {
  const std::string text = scheduler.describe();
  return text.substr(0, text.find('('));
}

void check_schedule(const LRSchedulerConfig& schedule, const torch::optim::Optimizer& optimizer,
                    bool automatic) {
  LIGHTNING_CHECK(schedule.scheduler != nullptr, ConfigError,
                  "LightningModule: configure_optimizers() gave a null LR scheduler, expected a "
                  "schedule. HINT: leave lr_scheduler out for a constant rate.");
  const std::string name = class_of(*schedule.scheduler);
  LIGHTNING_CHECK(schedule.frequency >= 1, ConfigError,
                  "LightningModule: the LR scheduler's frequency is ", schedule.frequency,
                  ", expected at least 1. HINT: use 1 to step in each interval.");
  LIGHTNING_CHECK(&schedule.scheduler->optimizer() == &optimizer, ConfigError,
                  "LightningModule: the LR scheduler ", name,
                  " is of another optimizer than the one that it is given for, expected the same. "
                  "HINT: make it with the optimizer of its OptimizerConfig.");
  if (!automatic) return;  // the module gives it the metric
  const std::string monitor = schedule.monitored();
  const bool watches = schedule.scheduler->watches_metric();
  LIGHTNING_CHECK(!watches || !monitor.empty(), ConfigError, "LightningModule: the LR scheduler ",
                  name,
                  " has no monitor, expected the name of a metric. HINT: set "
                  "LRSchedulerConfig::monitor to one that the module logs, such as val_loss.");
  LIGHTNING_CHECK(watches || monitor.empty(), ConfigError, "LightningModule: the LR scheduler ",
                  name, " has the monitor \"", monitor,
                  "\", expected none: it watches no metric. HINT: leave monitor out.");
}

/// A logged value, and the step that it belongs to.
struct Reading {
  double value;
  int64_t step;
};

std::string to_text(const Reading& reading) {
  return detail::concat(std::bit_cast<int64_t>(reading.value), " ", reading.step);
}

std::optional<Reading> reading_from(const std::string& text) {
  if (text.empty()) return std::nullopt;
  int64_t bits = 0;
  int64_t step = 0;
  const char* end = text.data() + text.size();
  const char* blank = std::from_chars(text.data(), end, bits).ptr;
  LIGHTNING_CHECK(blank != end && std::from_chars(blank + 1, end, step).ec == std::errc(),
                  DistributedError, "Trainer: rank 0 sent \"", text,
                  "\" as the value of a metric, expected two numbers.");
  return Reading{std::bit_cast<double>(bits), step};
}

/// Rank 0's latest value of a metric, on every rank; nothing when it has none.
/// Sync: rank 0 waits for the device, since the rate of the next step depends on the value.
std::optional<Reading> read_metric(RunState& run, const std::string& name) {
  std::string text;
  if (run.context.is_global_zero()) {
    const MetricMap& metrics = run.context.trainer.callback_metrics();
    const auto found = metrics.find(name);
    if (found != metrics.end()) {
      const int64_t step = run.context.trainer.metric_step(name).value_or(run.progress.global_step);
      text = to_text({found->second, step});
    }
  }
  return reading_from(run.context.from_rank_zero("metric of an LR schedule", text));
}

void warn_of_missing(const RunState& run, const LRSchedulerConfig& schedule) {
  // Before the first epoch's end it may still come; the absence of a strict one is an error there.
  const bool is_known = schedule.interval == Interval::kEpoch || run.progress.epoch > 0;
  if (schedule.strict || !is_known || run.context.trainer.awaits_validation()) return;
  run.warn(detail::concat(class_of(*schedule.scheduler), ": no metric \"", schedule.monitored(),
                          "\" was logged, so the schedule is not stepped. HINT: log it in a step "
                          "of the module, or name a different one by monitor."));
}

void step_monitored(RunState& run, const LRSchedulerConfig& schedule) {
  const std::optional<Reading> reading = read_metric(run, schedule.monitored());
  if (!reading) return warn_of_missing(run, schedule);
  if (schedule.interval == Interval::kStep) {
    // A value of a batch without a step belongs to a step that is still to come.
    if (reading->step > run.progress.global_step) return;
    const auto [judged, is_first] =
        run.judged_steps.try_emplace(schedule.scheduler.get(), reading->step);
    if (!is_first && std::exchange(judged->second, reading->step) == reading->step) return;
  }
  call_module(run, module_hooks::lr_scheduler_step, *schedule.scheduler,
              std::optional<double>(reading->value));
}

}  // namespace

void check_schedule_configs(const std::vector<OptimizerConfig>& optimizers, bool automatic) {
  std::unordered_set<const optim::LRScheduler*> seen;
  for (const OptimizerConfig& config : optimizers) {
    for (const LRSchedulerConfig& schedule : config.lr_scheduler) {
      check_schedule(schedule, *config.optimizer, automatic);
      LIGHTNING_CHECK(seen.insert(schedule.scheduler.get()).second, ConfigError,
                      "LightningModule: the LR scheduler ", class_of(*schedule.scheduler),
                      " is given twice, expected once. HINT: make one for each interval.");
    }
  }
}

void check_schedule_lengths(const RunState& run) {
  if (!run.context.module->automatic_optimization()) return;
  for_each_schedule(run, [&](const LRSchedulerConfig& schedule) {
    const std::optional<int64_t> most = schedule.scheduler->max_steps();
    const std::optional<int64_t> intervals = planned_intervals(run, schedule.interval);
    if (!most || !intervals) return;
    const int64_t steps = *intervals / schedule.frequency;
    LIGHTNING_CHECK(
        steps <= *most, ConfigError, "LightningModule: ", schedule.scheduler->describe(),
        " can make ", *most, " steps and the fit is planned for ", steps,
        ", expected at least as many. HINT: pass the trainer's "
        "estimated_stepping_batches() as its length, or lower max_epochs or max_steps.");
  });
}

void check_barebones_schedules(const RunState& run) {
  if (!run.context.options.user.barebones) return;
  if (!run.context.module->automatic_optimization()) return;
  for_each_schedule(run, [](const LRSchedulerConfig& schedule) {
    LIGHTNING_CHECK(!schedule.scheduler->watches_metric(), ConfigError,
                    "Trainer: barebones is true and the LR scheduler ",
                    class_of(*schedule.scheduler), " watches \"", schedule.monitored(),
                    "\", expected none that needs metrics, since log() does nothing. HINT: remove "
                    "one of the two.");
  });
}

std::vector<MetricDemand> schedule_demands(const RunState& run) {
  std::vector<MetricDemand> demands;
  if (!run.context.module->automatic_optimization()) return demands;
  for_each_schedule(run, [&](const LRSchedulerConfig& schedule) {
    if (!schedule.scheduler->watches_metric() || !schedule.strict) return;
    const bool per_epoch = schedule.interval == Interval::kEpoch;
    demands.push_back({.name = schedule.monitored(),
                       .option = class_of(*schedule.scheduler) + ": monitor",
                       .every_n_epochs = per_epoch ? schedule.frequency : 1});
  });
  return demands;
}

void step_schedules(RunState& run, Interval interval) {
  if (!run.context.module->automatic_optimization()) return;
  for_each_schedule(run, [&](const LRSchedulerConfig& schedule) {
    if (schedule.scheduler->watches_metric() || !is_due(run, schedule, interval)) return;
    call_module(run, module_hooks::lr_scheduler_step, *schedule.scheduler, std::nullopt);
  });
}

void step_monitored_schedules(RunState& run, Interval interval) {
  if (!run.context.module->automatic_optimization()) return;
  for_each_schedule(run, [&](const LRSchedulerConfig& schedule) {
    if (!schedule.scheduler->watches_metric() || !is_due(run, schedule, interval)) return;
    step_monitored(run, schedule);
  });
}

}  // namespace lightning
