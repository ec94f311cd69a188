/// LearningRateMonitor: logs the learning rate of every parameter group beside the module's
/// metrics.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/callbacks/interval.h>
#include <lightning/config/fields.h>
#include <lightning/core/optimizer_config.h>
#include <lightning/util/export.h>

namespace lightning {

struct LearningRateMonitorOptions {
  /// The rate that each step was made with, or the one that each epoch began with; nothing: as the
  /// optimizer's schedule steps, and per step without one.
  std::optional<Interval> logging_interval = std::nullopt;
  /// Also momentum (of Adam and AdamW beta1; 0 where there is none), as NAME-momentum.
  bool log_momentum = false;
  /// Also weight decay (0 where there is none), as NAME-weight_decay.
  bool log_weight_decay = false;
};

LIGHTNING_FIELDS(LearningRateMonitorOptions,
                 LIGHTNING_FIELD(logging_interval,
                                 "step or epoch; null: as the optimizer's schedule steps"),
                 LIGHTNING_FIELD(log_momentum, "also log momentum (of Adam beta1)"),
                 LIGHTNING_FIELD(log_weight_decay, "also log weight decay"))

/// There is an entry for each schedule, then one for each optimizer without. Names are "lr-AdamW"
/// or LRSchedulerConfig::name; with several groups "lr-AdamW/pg1" and so on, also from when on a
/// second one is added; a second entry of that class, of the same optimizer or another, is
/// "lr-AdamW-1". A run that resumes after StochasticWeightAveraging took the schedules away has the
/// entries it had. Sync: none.
class LIGHTNING_API LearningRateMonitor final : public Callback {
 public:
  using Options = LearningRateMonitorOptions;
  explicit LearningRateMonitor(LearningRateMonitorOptions options = {}) : options_(options) {}

  void setup(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  /// Throws CheckpointError for entries of optimizers that there aren't.
  void on_train_start(TrainerContext& trainer, LightningModule& module) override;
  void on_train_epoch_start(TrainerContext& trainer, LightningModule& module) override;
  void on_before_optimizer_step(TrainerContext& trainer, LightningModule& module,
                                torch::optim::Optimizer& optimizer) override;

  std::string state_key() const override;
  /// The entries.
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

 private:
  struct Watched {
    int64_t index = 0;  // of its optimizer
    std::shared_ptr<torch::optim::Optimizer> optimizer;
    std::string name;
    Interval interval = Interval::kStep;
    std::vector<std::string> names;  // of its groups
  };

  void watch_configured(TrainerContext& trainer);
  void watch_restored(TrainerContext& trainer);
  /// Adds an entry; `used`: those without a name of their own so far, by class.
  void watch(int64_t index, const std::shared_ptr<torch::optim::Optimizer>& optimizer,
             std::string name, Interval own_interval, std::map<std::string, int64_t>& used);
  void log_rates(LightningModule& module, Watched& watched) const;
  void log_options(LightningModule& module, const Watched& watched) const;

  LearningRateMonitorOptions options_;
  std::vector<Watched> watched_;
  std::vector<Watched> restored_;  // of the checkpoint, without optimizers; until on_train_start()
};

}  // namespace lightning
