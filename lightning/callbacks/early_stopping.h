/// EarlyStopping: ends a fit when a metric no longer improves.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/callbacks/monitor.h>
#include <lightning/config/fields.h>
#include <lightning/util/export.h>

namespace lightning {

/// Why an EarlyStopping ended the fit.
enum class EarlyStoppingReason {
  kNotStopped,
  kStoppingThreshold,    // as good as stopping_threshold
  kDivergenceThreshold,  // worse than divergence_threshold
  kPatienceExhausted,
  kNonFiniteMetric,
};

LIGHTNING_API std::string_view to_string(EarlyStoppingReason reason);

struct EarlyStoppingOptions {
  /// Metric that is watched. Required.
  std::string monitor = "";
  MonitorMode mode = MonitorMode::kMin;
  /// Looks without improvement before the fit ends; >= 0.
  int64_t patience = 3;
  /// Smaller changes are no improvement; >= 0, in units of the metric.
  double min_delta = 0.0;
  /// A metric that isn't there is an error; else there is nothing to judge then.
  bool strict = true;
  /// End at once when the metric is inf or nan.
  bool check_finite = true;
  /// End at once when the metric is at least this good.
  std::optional<double> stopping_threshold = std::nullopt;
  /// End at once when the metric is worse than this.
  std::optional<double> divergence_threshold = std::nullopt;
  /// Look at each epoch's end, or after each validation; nothing: at the epoch's end where fit
  /// validates once in each epoch, else after each validation.
  std::optional<bool> check_on_train_epoch_end = std::nullopt;
  /// Say each improvement.
  bool verbose = false;
};

LIGHTNING_FIELDS(
    EarlyStoppingOptions, LIGHTNING_FIELD(monitor, "metric that is watched (required)"),
    LIGHTNING_FIELD(mode, "min or max: which values are better"),
    LIGHTNING_FIELD(patience, "looks without improvement before the fit ends"),
    LIGHTNING_FIELD(min_delta, "smaller changes are no improvement"),
    LIGHTNING_FIELD(strict, "a metric that isn't there is an error"),
    LIGHTNING_FIELD(check_finite, "stop immediately when the metric is inf or nan"),
    LIGHTNING_FIELD(stopping_threshold, "stop immediately when the metric is at least this good"),
    LIGHTNING_FIELD(divergence_threshold, "stop immediately when the metric is worse than this"),
    LIGHTNING_FIELD(check_on_train_epoch_end,
                    "look at each epoch's end (true) or after each validation (false); null: by "
                    "how often fit validates"),
    LIGHTNING_FIELD(verbose, "say each improvement"))

/// Looks once per epoch, or after each validation when there are several in an epoch; a value that
/// was judged already isn't judged again. A stop that comes before min_epochs and min_steps are
/// over is dropped, and it asks again at its next look, if the metric still hasn't improved. What
/// it has counted belongs to one fit: setup() forgets it, a resumed fit takes it from the
/// checkpoint. With fast_dev_run the Trainer leaves it out.
class LIGHTNING_API EarlyStopping final : public Callback {
 public:
  using Options = EarlyStoppingOptions;
  /// Throws ConfigError for values out of range.
  explicit EarlyStopping(EarlyStoppingOptions options);

  /// Looks without improvement so far.
  int64_t wait_count() const { return wait_count_; }
  double best_score() const { return best_score_; }
  /// Of its latest look that asked for a stop. One that the Trainer dropped counts too, until a
  /// look finds an improvement.
  EarlyStoppingReason stopping_reason() const { return stopping_reason_; }
  /// "val_loss did not improve on 0.5 in 3 looks"; empty while it hasn't stopped.
  const std::string& stopping_reason_message() const { return message_; }
  /// The epoch of that look; 0 while it hasn't stopped.
  int64_t stopped_epoch() const { return stopped_epoch_; }

  void setup(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void on_validation_end(TrainerContext& trainer, LightningModule& module) override;
  void on_train_epoch_end(TrainerContext& trainer, LightningModule& module) override;
  std::string state_key() const override;
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;
  bool monitors() const override { return true; }
  /// None without `strict`.
  std::vector<MetricDemand> required_metrics() const override;

 private:
  void start_anew();
  bool looks_at_epoch_end(const TrainerContext& trainer) const;
  void look(TrainerContext& trainer);
  /// Sets stopping_reason_ and message_: why the fit should end with this value, or that it
  /// shouldn't.
  void judge(double value);
  void stop(EarlyStoppingReason reason, std::string message);
  void note_improvement(double value);
  bool is_better(double a, double b) const;

  EarlyStoppingOptions options_;
  int64_t wait_count_ = 0;
  double best_score_;
  int64_t judged_step_ = -1;  // metric_step() of the value that was judged last
  EarlyStoppingReason stopping_reason_ = EarlyStoppingReason::kNotStopped;
  std::string message_;
  int64_t stopped_epoch_ = 0;
};

}  // namespace lightning
