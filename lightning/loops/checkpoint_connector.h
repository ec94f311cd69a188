/// CheckpointConnector: what of a run goes into a checkpoint, and how it comes back.
#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/checkpoint/detail/checkpoint_writer.h>
#include <lightning/loops/run_state.h>

namespace lightning {

struct SaveRequest {
  std::filesystem::path path;
  bool weights_only = false;
  std::function<void()> committed;
};

class CheckpointConnector {
 public:
  explicit CheckpointConnector(RunState& run);

  /// Asks for a checkpoint: written at the next write_requested(), outside of fit at once.
  void request(SaveRequest request);
  void begin_fit() { in_fit_loops_ = true; }
  void end_fit() { in_fit_loops_ = false; }

  /// Writes the checkpoints that were requested (rank 0 does, with what the others send it); to be
  /// called at safe points and outside of loops.
  /// A state that isn't finite (a parameter, a buffer, what the optimizer keeps) is never written:
  /// DataError when on_nonfinite is error, else a warning. Throws CheckpointError too.
  /// Sync: waits for the device when there is anything to write.
  void write_requested();
  /// Waits until everything is on the disk. Throws CheckpointError of an earlier write.
  void wait() { writer_.wait(); }
  /// Buffers and optimizer state that aren't finite now (an attention mask of -inf) are so by
  /// design, and don't keep a checkpoint from being written. Sync: waits for the device.
  void allow_nonfinite_as_they_are();

  /// Reads a checkpoint and restores what is needed before optimizers exist: the weights, and the
  /// state of callbacks and data module.
  void load(const std::filesystem::path& path);
  /// Restores the rest for a fit to go on: optimizers, schedulers, precision, progress, metrics.
  /// After that the training loader and the generators, when the loops begin.
  void restore_fit();
  void restore_data_and_generators();
  /// Whether this session resumed, until its first batch.
  bool restored() const { return restored_; }
  bool take_restored() { return std::exchange(restored_, false); }
  /// The checkpoint's state; empty when none was loaded.
  const StateDict& state() const { return checkpoint_.state; }
  const std::filesystem::path& path() const { return path_; }
  void release() { checkpoint_ = {}; }

 private:
  Checkpoint dump(bool weights_only);
  void dump_fit_state(StateDict& state);
  /// What differs from rank to rank: generators and metrics gathered so far.
  void dump_rank_states(StateDict& state);
  void restore_metrics();
  void warn_about_environment();
  bool state_is_finite();
  /// What is wrong with the state; empty when all of it is finite.
  std::string find_nonfinite() const;

  RunState& run_;
  Checkpoint checkpoint_;
  std::filesystem::path path_;
  bool loaded_ = false;
  bool restored_ = false;
  std::set<std::string> nonfinite_by_design_;
  std::vector<SaveRequest> requests_;
  CheckpointWriter writer_;
  bool in_fit_loops_ = false;
};

}  // namespace lightning
