/// StochasticWeightAveraging: averages the weights at the starts of a fit's last epochs
/// (docs/weight_averaging.md).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/config/fields.h>
#include <lightning/util/export.h>

namespace torch::optim {
class Optimizer;
}

namespace lightning {

/// The epoch with which averaging starts: its number, from 1, or a fraction of max_epochs (0.8),
/// distinguished by the type in C++ and by the decimal point in YAML.
class LIGHTNING_API EpochStart {
 public:
  EpochStart(double fraction) : fraction_(fraction) {}  // NOLINT: implicit on purpose
  EpochStart(int number) : number_(number) {}           // NOLINT
  EpochStart(int64_t number) : number_(number) {}       // NOLINT

  bool is_number() const { return number_.has_value(); }
  int64_t number() const { return number_.value_or(0); }
  double fraction() const { return fraction_; }
  /// Index, from 0, of the first epoch. A fraction is rounded down; it throws ConfigError without
  /// max_epochs.
  int64_t index(std::optional<int64_t> max_epochs) const;

  static EpochStart from_text(std::string_view text);
  static std::string type_name() { return "number or fraction"; }
  std::string to_text() const;
  bool operator==(const EpochStart&) const = default;

 private:
  double fraction_ = 0.0;
  std::optional<int64_t> number_;
};

enum class AnnealingStrategy { kCos, kLinear };
LIGHTNING_ENUM(AnnealingStrategy, LIGHTNING_ENUMERATOR(kCos, "cos"),
               LIGHTNING_ENUMERATOR(kLinear, "linear"));

struct StochasticWeightAveragingOptions {
  /// Learning rates to anneal to: one for all parameter groups, or one for each. Required.
  std::vector<double> swa_lrs = {};
  /// First epoch whose weights, at its start, are averaged.
  EpochStart swa_epoch_start = 0.8;
  /// Epochs from the rates at the start to swa_lrs; 0: at once.
  int64_t annealing_epochs = 10;
  AnnealingStrategy annealing_strategy = AnnealingStrategy::kCos;
};
LIGHTNING_FIELDS(StochasticWeightAveragingOptions,
                 LIGHTNING_FIELD(swa_lrs, "learning rates: one, or one per group (required)"),
                 LIGHTNING_FIELD(swa_epoch_start, "first epoch, from 1, or fraction of max_epochs"),
                 LIGHTNING_FIELD(annealing_epochs, "epochs until the rates are swa_lrs"),
                 LIGHTNING_FIELD(annealing_strategy, "cos or linear"))

/// Stochastic weight averaging (Izmailov et al., 2018), as Lightning's: from the epoch
/// swa_epoch_start on, the equally weighted mean of the parameters at the start of each epoch, with
/// learning rates that go to swa_lrs in place of what LR schedules make of them. When max_epochs
/// are over the module gets the average. With BatchNorm layers one more epoch then renews their
/// running statistics: training_step() without backward and without optimizer steps. A fit that
/// ends before max_epochs keeps the trained weights, and says so; without max_epochs it gets the
/// average whenever it ends.
///
/// Automatic optimization with one optimizer, else ConfigError. Every rank makes the same average
/// of the same weights; nothing is sent and nothing waits for the device. Memory: the parameters
/// once more. Put it before a LearningRateMonitor, which then sees the rates of the epoch.
class LIGHTNING_API StochasticWeightAveraging final : public Callback {
 public:
  using Options = StochasticWeightAveragingOptions;
  /// Throws ConfigError for values out of range.
  explicit StochasticWeightAveraging(StochasticWeightAveragingOptions options);
  ~StochasticWeightAveraging() override;

  /// Epochs averaged so far.
  int64_t averaged() const { return averaged_; }

  /// As WeightAveraging::check_plan().
  void check_plan(std::optional<int64_t> max_epochs, std::optional<int64_t> epochs) const;

  void setup(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void on_fit_start(TrainerContext& trainer, LightningModule& module) override;
  void on_train_start(TrainerContext& trainer, LightningModule& module) override;
  void on_train_epoch_start(TrainerContext& trainer, LightningModule& module) override;
  void on_train_end(TrainerContext& trainer, LightningModule& module) override;

  std::string state_key() const override { return "StochasticWeightAveraging"; }
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

 private:
  bool started() const { return first_epoch_ >= 0; }
  void check_module(TrainerContext& trainer, const LightningModule& module) const;
  /// Throws when there are rates of more or fewer groups than the optimizer has.
  void check_rates(TrainerContext& trainer) const;
  /// Takes the rates over from the schedules.
  void start(TrainerContext& trainer);
  /// Those of an epoch: swa_lrs when annealing is over.
  void set_rates(torch::optim::Optimizer& optimizer, int64_t epoch) const;
  void average();

  StochasticWeightAveragingOptions options_;
  int64_t first_epoch_ = -1;          // index of the epoch in which it started; -1: not yet
  int64_t latest_update_epoch_ = -1;  // index
  int64_t averaged_ = 0;
  std::vector<double> base_rates_;  // of the parameter groups at the start
  class Average;
  std::unique_ptr<Average> average_;
  StateDict loaded_average_;  // until on_fit_start()
  bool resumed_ = false;      // from a checkpoint of a fit with this callback
};

}  // namespace lightning
