/// What is said before and after the epochs of a fit about options that lead to nothing.
#pragma once

#include <cstdint>
#include <optional>

#include <lightning/core/optimizer_config.h>
#include <lightning/loops/evaluation_loop.h>
#include <lightning/loops/run_state.h>

namespace lightning {

/// Throws ConfigError when a ModelCheckpoint's names would be too long for the file system.
void check_file_names(const RunState& run);

/// Before the first step: throws ConfigError when a callback would begin to average weights after
/// the steps and epochs that are planned.
void check_averaging(const RunState& run);

/// Steps or epochs of the whole fit, its limits reached; nothing without limits, or when unknown.
std::optional<int64_t> planned_intervals(const RunState& run, Interval interval);

/// Before the first step: warns of what never comes in the steps and epochs that are planned: rows
/// of step metrics, validations, checkpoints, the end of a schedule.
void warn_of_plan(const RunState& run, const EvaluationLoop& validation);

/// After an epoch: warns, once in a fit, when none of its batches had a loss. `before`, `counts`:
/// the progress and run.batches when it began.
void warn_of_skipped_epoch(RunState& run, const Progress& before, const BatchCounts& counts);

/// After the last epoch: warns when no step was made or no row logged, unless that was said before.
void warn_of_nothing_done(const RunState& run);

}  // namespace lightning
