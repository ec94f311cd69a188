/// Timer: how long each stage takes, and a time limit of a fit.
#pragma once

#include <array>
#include <chrono>
#include <optional>
#include <string>

#include <lightning/callbacks/callback.h>
#include <lightning/callbacks/interval.h>
#include <lightning/config/fields.h>
#include <lightning/util/export.h>

namespace lightning {

struct TimerOptions {
  /// Training time after which the fit ends, > 0; nothing: it only measures. In YAML 90s, 15min, 2h
  /// or DD:HH:MM:SS.
  std::optional<std::chrono::milliseconds> duration = std::nullopt;
  /// Whether the time is looked at after each batch or after each epoch.
  Interval interval = Interval::kStep;
  /// Say in the log when the time is up.
  bool verbose = true;
};

LIGHTNING_FIELDS(TimerOptions,
                 LIGHTNING_FIELD(duration,
                                 "training time after which the fit ends; null: no limit"),
                 LIGHTNING_FIELD(interval, "step or epoch: when the time is looked at"),
                 LIGHTNING_FIELD(verbose, "say when the time is up"))

/// Measures on the host with a steady clock. Training is Stage::kFit, from on_train_start() to
/// on_train_end() with the validations in it; of validation, test and prediction the latest pass
/// counts. A resumed fit continues with the training time that its checkpoint has; the time between
/// the two doesn't count.
///
/// When the duration is over, rank 0 requests the stop (the clocks of ranks differ) and all ranks
/// end at the same boundary between optimizer steps. As every request it waits for min_epochs and
/// min_steps. The Trainer's max_time doesn't wait.
class LIGHTNING_API Timer final : public Callback {
 public:
  using Options = TimerOptions;
  using Clock = std::chrono::steady_clock;

  /// Throws ConfigError for a duration of 0 or less.
  explicit Timer(TimerOptions options = {});

  /// When the latest pass of the stage began and ended; nothing before.
  std::optional<Clock::time_point> start_time(Stage stage = Stage::kFit) const;
  std::optional<Clock::time_point> end_time(Stage stage = Stage::kFit) const;
  /// Seconds of the stage so far, of training those before a resume included.
  double time_elapsed(Stage stage = Stage::kFit) const;
  /// Seconds of the duration that time_elapsed(stage) leaves, below 0 when it is over; nothing
  /// without a duration.
  std::optional<double> time_remaining(Stage stage = Stage::kFit) const;

  void setup(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void on_train_start(TrainerContext& trainer, LightningModule& module) override;
  void on_train_end(TrainerContext& trainer, LightningModule& module) override;
  void on_train_batch_end(TrainerContext& trainer, LightningModule& module,
                          const StepOutput& output, const Batch& batch, int64_t batch_idx) override;
  void on_train_epoch_end(TrainerContext& trainer, LightningModule& module) override;
  void on_validation_start(TrainerContext& trainer, LightningModule& module) override;
  void on_validation_end(TrainerContext& trainer, LightningModule& module) override;
  void on_test_start(TrainerContext& trainer, LightningModule& module) override;
  void on_test_end(TrainerContext& trainer, LightningModule& module) override;
  void on_predict_start(TrainerContext& trainer, LightningModule& module) override;
  void on_predict_end(TrainerContext& trainer, LightningModule& module) override;
  std::string state_key() const override;
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

 private:
  struct Span {
    std::optional<Clock::time_point> start;
    std::optional<Clock::time_point> end;
  };

  Span& span(Stage stage) { return spans_[static_cast<size_t>(stage)]; }
  const Span& span(Stage stage) const { return spans_[static_cast<size_t>(stage)]; }
  void begin(Stage stage);
  void end(Stage stage);
  /// Requests the stop when the time is up.
  void look(TrainerContext& trainer);

  TimerOptions options_;
  std::array<Span, 4> spans_;     // by Stage
  double earlier_seconds_ = 0.0;  // of training, before the resume
  bool said_time_is_up_ = false;
};

}  // namespace lightning
