/// TrainEpochLoop: one pass over the training batches. `advance()` is the step that everything else
/// in this library serves; read it first.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include <lightning/loops/checkpoint_connector.h>
#include <lightning/loops/evaluation_loop.h>
#include <lightning/loops/optimization.h>
#include <lightning/loops/run_state.h>

namespace lightning {

class TrainEpochLoop {
 public:
  TrainEpochLoop(RunState& run, EvaluationLoop& validation, CheckpointConnector& checkpoints);
  ~TrainEpochLoop() { run_.validation_follows = nullptr; }
  TrainEpochLoop(const TrainEpochLoop&) = delete;
  TrainEpochLoop& operator=(const TrainEpochLoop&) = delete;

  /// Continues from run.progress; returns whether the epoch's last batch was done (false: stopped).
  bool run();
  /// Whether skip_rest_of_epoch() ended the last epoch of run().
  bool skipped() const { return skipped_; }
  /// Whether nothing more may be trained in this fit: a limit was reached, or a stop was requested.
  /// Then run.end_reason says why.
  bool must_stop();
  /// Whether a stop that was requested may take effect: min_epochs and min_steps are over.
  bool may_stop_early() const;

 private:
  /// Runs one batch; returns whether the optimizer stepped. Not when skipped() has become true.
  bool advance(const Batch& batch, bool last_batch);
  /// on_train_batch_start(); returns false when that asks for the epoch's end.
  bool start_batch(const Batch& batch, int64_t step);
  /// As after a last batch, but without the batch.
  void end_skipped_epoch();
  /// The validation of a batch and what waits for it; false when a signal leaves it to the next
  /// session.
  bool validate_after_batch();
  bool is_last_batch();
  /// Whether a step is still to come of gradients that are there.
  bool keeps_gradients() const;
  bool validation_is_due(bool last_batch) const;
  /// Why nothing more may be trained; empty: it may.
  std::string reason_to_stop() const;
  /// A stop before min_epochs and min_steps are over isn't kept for later.
  void drop_early_stop();
  void log_step_row();
  /// Once per epoch, whatever its last batch is.
  void schedule_epoch();
  /// The schedules that judge a metric after steps.
  void step_monitored();
  void count_time(std::chrono::steady_clock::time_point began);
  void safe_point(SafePoint position);

  RunState& run_;
  EvaluationLoop& validation_;
  CheckpointConnector& checkpoints_;
  Optimization optimization_;
  std::optional<int64_t> num_batches_;  // of the current epoch
  int64_t batches_in_session_ = 0;
  bool skipped_ = false;
  bool said_dropped_ = false;
  bool in_window_ = false;  // gradients of an unfinished window are there
};

}  // namespace lightning
