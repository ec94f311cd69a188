/// LearningRateMonitor: logs the learning rate of every parameter group beside the module's
/// metrics.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/config/fields.h>
#include <lightning/core/optimizer_config.h>
#include <lightning/util/export.h>

namespace lightning {

LIGHTNING_ENUM(Interval, LIGHTNING_ENUMERATOR(kEpoch, "epoch"), LIGHTNING_ENUMERATOR(kStep, "step"))

struct LearningRateMonitorOptions {
  /// The rate that a step was made with, or the one that an epoch began with.
  Interval logging_interval = Interval::kStep;
};

LIGHTNING_FIELDS(LearningRateMonitorOptions, LIGHTNING_FIELD(logging_interval, "step or epoch"))

/// There is an entry for each schedule, then one for each optimizer without. Names are "lr-AdamW"
/// or LRSchedulerConfig::name; with several groups "lr-AdamW/pg1" and so on; a second entry of that
/// class, of the same optimizer or another, is "lr-AdamW-1".
class LIGHTNING_API LearningRateMonitor final : public Callback {
 public:
  using Options = LearningRateMonitorOptions;
  explicit LearningRateMonitor(LearningRateMonitorOptions options = {}) : options_(options) {}

  void on_train_start(TrainerContext& trainer, LightningModule& module) override;
  void on_train_epoch_start(TrainerContext& trainer, LightningModule& module) override;
  void on_before_optimizer_step(TrainerContext& trainer, LightningModule& module,
                                torch::optim::Optimizer& optimizer) override;

 private:
  /// Adds an entry; `used`: those without a name of their own so far, by class.
  void watch(const std::shared_ptr<torch::optim::Optimizer>& optimizer, std::string name,
             std::map<std::string, int64_t>& used);
  void log_rates(LightningModule& module, size_t index, Interval interval);

  LearningRateMonitorOptions options_;
  struct Watched {
    std::shared_ptr<torch::optim::Optimizer> optimizer;
    std::vector<std::string> names;  // of its groups
  };
  std::vector<Watched> watched_;
};

}  // namespace lightning
