/// How far a run has come, and the clock of its present session.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

/// A point between two hooks at which a checkpoint may be written and from which a run resumes.
enum class SafePoint : int64_t {
  kBatchEnd,       // hooks and log row of the batch are done; a validation may be due
  kValidationEnd,  // that validation is done
  kEpochEnd,       // the epoch is counted; the next one begins
};

/// Of an optimizer in manual optimization, after its last step().
enum class PendingGradients : int64_t {
  kNone,
  kComplete,    // those of all ranks, ready for a step
  kIncomplete,  // of this rank, others are to be added
};

/// Counters of completed units. Saved and restored.
struct Progress {
  int64_t epoch = 0;
  int64_t batch_idx = 0;  // completed batches of the current epoch
  int64_t total_batches = 0;
  int64_t global_step = 0;  // batches, or windows of them, with a step of any optimizer
  std::vector<int64_t> optimizer_steps;             // of each optimizer
  std::vector<PendingGradients> pending_gradients;  // of each optimizer
  /// What set_accumulate_grad_batches() was given; nothing: the option holds.
  std::optional<int64_t> accumulate_grad_batches;
  /// A GradientAccumulationScheduler gave it: it holds as long as the run has one.
  bool accumulation_is_scheduled = false;
  int64_t samples_seen = 0;
  double elapsed_seconds = 0.0;  // of earlier sessions of this run
  /// Batches of each validation loader in all validations: where the rows of their steps stand.
  std::vector<int64_t> validation_batches;
  bool validated = false;  // a validation was completed
  SafePoint position = SafePoint::kEpochEnd;
  /// The schedules that count epochs have counted the current one. They do so with its last batch,
  /// and in a run that resumes with other limits that may be another one. Nothing: not known.
  std::optional<bool> epoch_scheduled = false;
  /// The present epoch, or between two the last one, renews BatchNorm's statistics: it trains
  /// nothing, and a run that resumes with more epochs trains in its place.
  bool renews_statistics = false;
};

/// In the form that checkpoints hold.
LIGHTNING_API StateDict to_state_dict(const Progress& progress);
LIGHTNING_API Progress progress_from(const StateDict& state);

/// Of the present session: a run that resumes begins another one.
struct SessionClock {
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  int64_t first_step = 0;  // global_step when the session began
  // For the speed at the end; the first batches of a session warm up and don't count.
  int64_t timed_steps = 0;
  double training_seconds = 0.0;

  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  }
};

}  // namespace lightning
