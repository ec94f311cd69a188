/// When LR schedules step, with automatic optimization: those that watch no metric before
/// on_train_batch_end (that count epochs: of the last batch), as in Lightning; those that watch one
/// after all that may log it.
#pragma once

#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/loops/run_state.h>

namespace lightning {

/// Throws ConfigError for schedules that can't be stepped as they are configured. `automatic`:
/// whether the Trainer steps them.
void check_schedule_configs(const std::vector<OptimizerConfig>& optimizers, bool automatic);

/// Before the first step: throws ConfigError when the fit is planned for more steps than a schedule
/// can make.
void check_schedule_lengths(const RunState& run);

/// Before the first step: throws ConfigError for a schedule that watches a metric in a barebones
/// fit, which has none.
void check_barebones_schedules(const RunState& run);

/// The metrics that schedules can't do without.
std::vector<MetricDemand> schedule_demands(const RunState& run);

/// Steps what counts `interval`, watches no metric and is due.
void step_schedules(RunState& run, Interval interval);

/// Steps what counts `interval`, watches a metric and is due: with rank 0's value. One that isn't
/// there yet is waited for; one per step judges each value once. Not inside a window: a checkpoint
/// couldn't hold it. Every rank must call it.
/// Sync: rank 0 waits for the device where a schedule watches a metric.
void step_monitored_schedules(RunState& run, Interval interval);

}  // namespace lightning
