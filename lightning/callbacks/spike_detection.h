/// SpikeDetection: ends a fit whose loss jumps.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/callbacks/monitor.h>
#include <lightning/config/fields.h>
#include <lightning/util/error.h>
#include <lightning/util/export.h>

namespace lightning {

/// What a SpikeDetection throws.
class LIGHTNING_API TrainingSpikeError : public DataError {
 public:
  TrainingSpikeError(const std::string& text, int64_t batch_idx)
      : DataError(text), batch_idx_(batch_idx) {}
  ~TrainingSpikeError() override;
  /// The batch whose loss jumped.
  int64_t batch_idx() const { return batch_idx_; }

 private:
  int64_t batch_idx_;
};

struct SpikeDetectionOptions {
  /// Which losses are better.
  MonitorMode mode = MonitorMode::kMin;
  /// Losses in the running mean; >= 1.
  int64_t window = 10;
  /// So many batches at the start of each epoch are not judged; >= 0.
  int64_t warmup = 1;
  /// A spike is a worse loss than the last that is at least this far from the running mean, and at
  /// least `rtol` times that mean; nothing: it isn't asked for. >= 0.
  std::optional<double> atol = std::nullopt;
  std::optional<double> rtol = 2.0;
  /// File for the numbers of the batches to leave out; empty: skip_batches.json in the run's
  /// folder, and none in a run that has no folder (fast_dev_run, dry_run).
  std::filesystem::path exclude_batches_path = "";
  /// A loss that isn't finite is a spike.
  bool finite_only = true;
  /// Losses that are read from the device at once; >= 1. A spike is noticed at the next reading.
  int64_t every_n_batches = 1;
};

LIGHTNING_FIELDS(
    SpikeDetectionOptions, LIGHTNING_FIELD(mode, "min or max: which losses are better"),
    LIGHTNING_FIELD(window, "losses in the running mean"),
    LIGHTNING_FIELD(warmup, "batches of each epoch that are not judged"),
    LIGHTNING_FIELD(atol, "smallest distance of a spike from the running mean"),
    LIGHTNING_FIELD(rtol, "the same as a multiple of that mean"),
    LIGHTNING_FIELD(exclude_batches_path,
                    "file for the batches to leave out; empty: skip_batches.json in the run's "
                    "folder"),
    LIGHTNING_FIELD(finite_only, "a loss that isn't finite is a spike"),
    LIGHTNING_FIELD(every_n_batches, "losses that are read at once"))

/// Looks at the loss of each training batch. At a spike it notes that batch and the one before it
/// (which may have harmed the weights) in a JSON list and throws TrainingSpikeError, which ends all
/// ranks.
///
/// Ranks: each judges its own losses, without an exchange. A resumed run continues with rank 0's.
/// Sync: reading losses waits for the device, once in every_n_batches.
class LIGHTNING_API SpikeDetection final : public Callback {
 public:
  using Options = SpikeDetectionOptions;
  /// Throws ConfigError for values out of range.
  explicit SpikeDetection(SpikeDetectionOptions options = {});

  /// Of the whole run, resumed parts included.
  const std::vector<int64_t>& bad_batches() const { return bad_batches_; }
  /// Whether the run writes files. The Trainer says so before setup().
  void set_has_run_folder(bool has) { has_run_folder_ = has; }

  void setup(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void on_train_batch_end(TrainerContext& trainer, LightningModule& module,
                          const StepOutput& output, const Batch& batch, int64_t batch_idx) override;
  void on_train_epoch_end(TrainerContext& trainer, LightningModule& module) override;
  std::string state_key() const override { return "SpikeDetection"; }
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

 private:
  struct Pending {
    int64_t batch_idx;
    at::Tensor loss;
  };

  void judge_pending(TrainerContext& trainer);
  bool is_spike(double loss) const;
  [[noreturn]] void report(TrainerContext& trainer, int64_t batch_idx, double loss);

  SpikeDetectionOptions options_;
  std::vector<Pending> pending_;
  std::deque<double> window_;  // the latest losses, the oldest first
  double last_loss_ = 0.0;
  std::vector<int64_t> bad_batches_;
  bool has_run_folder_ = true;
  std::filesystem::path path_;  // of the list; empty: none
};

}  // namespace lightning
