/// CheckpointConnector: what of a run goes into a checkpoint, and how it comes back.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/checkpoint/detail/checkpoint_writer.h>
#include <lightning/loops/resume_changes.h>
#include <lightning/loops/run_state.h>
#include <lightning/util/error.h>

namespace lightning {

class CheckpointConnector {
 public:
  explicit CheckpointConnector(RunState& run);

  /// Asks for a checkpoint: written at the next write_requested(), outside of fit at once.
  void request(CheckpointRequest request);
  void begin_fit() { in_fit_loops_ = true; }
  void end_fit() { in_fit_loops_ = false; }

  /// Writes the checkpoints that were requested (rank 0 does, with what the others send it); to be
  /// called at safe points and outside of loops.
  /// A state that isn't finite (a parameter, a buffer, what the optimizer keeps) is never written:
  /// DataError when on_nonfinite is error, else a warning. Throws CheckpointError too.
  /// Sync: waits for the device when there is anything to write.
  void write_requested();
  /// Waits until everything is on the disk. Throws CheckpointError of an earlier write.
  void wait();
  /// Whether a fit could resume from the present state by a checkpoint that was written (or by the
  /// one that it was resumed from), or was refused because the state isn't finite.
  bool present_state_is_settled() const;
  /// From here on, checkpoints hold the present state of what hooks at the end of an epoch that was
  /// cut short, and of the fit, change: a resumed run continues in the middle of that epoch. Not
  /// of callbacks that write checkpoints.
  void freeze();
  /// Writes a checkpoint of the present state, if this run writes any, and throws a ConfigError
  /// with the text of `error` that names it. Every rank must call it.
  [[noreturn]] void save_and_throw(const ConfigError& error);
  /// Buffers and optimizer state that aren't finite now (an attention mask of -inf) are so by
  /// design, and don't keep a checkpoint from being written. Sync: waits for the device.
  void allow_nonfinite_as_they_are();

  /// Reads a checkpoint and restores the weights and the progress and, for a fit, the state of
  /// callbacks and data module: what is needed before optimizers exist.
  void load(const std::filesystem::path& path);
  /// Restores the rest for a fit to resume: optimizers, schedulers, precision, metrics. After
  /// on_fit_start(), where callbacks may add parameter groups.
  /// After that the training loader and the generators, when the loops begin.
  void restore_fit();
  /// Notes what configure_optimizers() and on_fit_start() gave: for checkpoints, and for the
  /// comparison of restore_fit(). Before that.
  void note_configured_optimizers();
  /// The run's config with the values that hold after restore_fit(), which may be the checkpoint's.
  std::string effective_config() const {
    return changes_.effective_config(run_.context.config, path_);
  }
  void restore_data_and_generators();
  /// Whether this session resumed, until its first batch.
  bool restored() const { return restored_; }
  bool take_restored() { return std::exchange(restored_, false); }
  /// The checkpoint's state; empty when none was loaded.
  const StateDict& state() const { return checkpoint_.state; }
  const std::filesystem::path& path() const { return path_; }
  void release() { checkpoint_ = {}; }

 private:
  void write_all();
  /// Calls CheckpointRequest::failed of what was requested, and of what was handed to the writer
  /// from `first` on, and wasn't written.
  void report_failed(size_t first);
  Checkpoint dump(const CheckpointRequest& request);
  void dump_fit_state(StateDict& state);
  /// What differs from rank to rank: generators and metrics gathered so far.
  StateDict own_rank_state() const;
  void dump_rank_states(StateDict& state);
  /// With more epochs than the checkpoint's run had, the epoch that renewed BatchNorm's statistics
  /// at its end isn't one of them: an epoch that trains has its place.
  void leave_out_renewal();
  /// The factor of a GradientAccumulationScheduler that this run doesn't have holds no more.
  void leave_out_accumulation_schedule();
  void restore_metrics();
  void restore_metric_states();
  /// In the middle of an epoch a metric can't begin, nor end. Throws CheckpointError.
  void check_metric_names(const std::vector<std::string>& saved) const;
  void restore_optimizer_progress();
  /// The optimizer of this index and its schedules; adds what differs to changes_.
  void restore_optimizer(size_t index);

  // Of the LR schedules of an optimizer: checkpoint_schedules.cpp.
  void dump_schedules(size_t optimizer, StateDict& state) const;
  void restore_schedules(size_t optimizer, bool keep_new);
  /// The state of a schedule (`key`: see schedule_key()), or its place in the run when it is
  /// another one than the checkpoint has the state of; returns whether it is.
  bool restore_schedule(const LRSchedulerConfig& schedule, const std::string& key,
                        const std::vector<double>& base_rates);
  void load_schedule(const LRSchedulerConfig& schedule, const StateDict& saved);
  /// Notes the schedules that the checkpoint has beyond those of an optimizer; returns whether
  /// there are any.
  bool note_removed_schedules(size_t optimizer, bool keep_new);
  /// Intervals of a schedule that this run has completed.
  int64_t completed_intervals(const LRSchedulerConfig& schedule, const std::string& key) const;

  void report_changes();
  void warn_about_environment();
  bool state_is_finite();
  /// What is wrong with the state; empty when all of it is finite.
  std::string find_nonfinite() const;

  RunState& run_;
  Checkpoint checkpoint_;
  std::filesystem::path path_;
  bool loaded_ = false;
  bool restored_ = false;
  StateDict configured_;  // see configured_optimizers()
  ResumeChanges changes_;
  std::set<std::string> nonfinite_by_design_;
  std::vector<CheckpointRequest> requests_;
  /// Handed to the writer; `written` is set by its thread.
  struct Handed {
    CheckpointRequest request;
    std::shared_ptr<std::atomic<bool>> written;
  };
  std::vector<Handed> handed_;
  /// Optimizer steps and batches of the last state that was settled.
  std::optional<std::pair<int64_t, int64_t>> settled_;
  struct Frozen {
    StateDict callbacks;
    StateDict rank;
    StateDict callback_metrics;
  };
  std::optional<Frozen> frozen_;
  CheckpointWriter writer_;
  bool in_fit_loops_ = false;
};

}  // namespace lightning
