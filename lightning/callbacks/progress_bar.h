/// ProgressBar: where a run is, how fast it goes and how long it will take. On a terminal one line
/// is drawn again at most ten times a second; elsewhere (a file, a SLURM log) a plain line appears
/// every few seconds. The last line of an epoch stays, unless the epoch was shorter than the time
/// between two drawings (a second elsewhere); that of the fit always does.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include <lightning/callbacks/callback.h>
#include <lightning/config/fields.h>
#include <lightning/util/export.h>
#include <lightning/util/log.h>

namespace lightning {

struct ProgressBarOptions {
  /// Between two drawings on a terminal; at least 100 ms.
  std::chrono::milliseconds refresh_interval = std::chrono::milliseconds(100);
  /// Between two plain lines.
  std::chrono::seconds line_interval = std::chrono::seconds(10);
};

LIGHTNING_FIELDS(ProgressBarOptions,
                 LIGHTNING_FIELD(refresh_interval, "between two drawings on a terminal"),
                 LIGHTNING_FIELD(line_interval, "between two plain lines elsewhere"))

/// The content of one line.
struct ProgressLine {
  std::string title;             // "Epoch 1/2"
  int64_t done = 0;              // batches
  std::optional<int64_t> total;  // nothing: unknown
  double batches_per_second = 0.0;
  /// Optimizer steps, in training: the speed that is shown. Nothing: that of the batches is.
  std::optional<double> steps_per_second = std::nullopt;
  MetricMap metrics;
};

/// The line without a line end, cut to `width` columns (0: not cut).
LIGHTNING_API std::string format_progress(const ProgressLine& line, size_t width);

class LIGHTNING_API ProgressBar final : public Callback {
 public:
  using Options = ProgressBarOptions;
  explicit ProgressBar(ProgressBarOptions options = {});
  ~ProgressBar() override;

  void setup(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void teardown(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void on_train_epoch_start(TrainerContext& trainer, LightningModule& module) override;
  void on_train_batch_start(TrainerContext& trainer, LightningModule& module, const Batch& batch,
                            int64_t batch_idx) override;
  void on_train_batch_end(TrainerContext& trainer, LightningModule& module,
                          const StepOutput& output, const Batch& batch, int64_t batch_idx) override;
  void on_train_epoch_end(TrainerContext& trainer, LightningModule& module) override;
  void on_train_end(TrainerContext& trainer, LightningModule& module) override;
  void on_validation_start(TrainerContext& trainer, LightningModule& module) override;
  void on_validation_batch_end(TrainerContext& trainer, LightningModule& module, const Batch& batch,
                               int64_t batch_idx) override;
  void on_validation_end(TrainerContext& trainer, LightningModule& module) override;
  void on_test_start(TrainerContext& trainer, LightningModule& module) override;
  void on_test_batch_end(TrainerContext& trainer, LightningModule& module, const Batch& batch,
                         int64_t batch_idx) override;
  void on_test_end(TrainerContext& trainer, LightningModule& module) override;
  void on_predict_start(TrainerContext& trainer, LightningModule& module) override;
  void on_predict_batch_end(TrainerContext& trainer, LightningModule& module, const Batch& outputs,
                            const Batch& batch, int64_t batch_idx) override;
  void on_predict_end(TrainerContext& trainer, LightningModule& module) override;

 private:
  using Clock = std::chrono::steady_clock;
  /// A pass over data: what the speed is measured over.
  struct Pass {
    std::string title;
    int64_t first = 0;  // batches done when it began
    int64_t done = 0;
    int64_t first_step = 0;
    Clock::time_point started;
    Clock::duration paused{};  // validation inside a training epoch
  };
  void begin(Pass& pass, std::string title, int64_t first);
  void evaluated(TrainerContext& trainer, int64_t batch_idx);
  bool is_due() const;
  std::string line_of(TrainerContext& trainer, const Pass& pass,
                      std::optional<int64_t> total) const;
  void draw(TrainerContext& trainer, const std::string& line);
  /// Writes the lines of ended epochs, which are to stay.
  void leave_ended(TrainerContext& trainer);
  void clear_line();

  ProgressBarOptions options_;
  bool enabled_ = false;  // rank 0
  bool on_terminal_ = false;
  Pass training_;
  bool training_active_ = false;
  Pass evaluation_;
  Clock::time_point evaluation_began_;
  Clock::time_point last_shown_;
  std::string ended_;    // the line of the epoch that ended last, until it is written
  std::string waiting_;  // lines of ended epochs that are written with whatever comes next
  std::mutex mutex_;     // of the terminal: log lines come from other threads too
  bool drawn_ = false;   // a bar stands on the terminal's last line
  LogSink previous_sink_;
};

}  // namespace lightning
