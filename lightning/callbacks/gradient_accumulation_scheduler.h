/// GradientAccumulationScheduler: how many batches make an optimizer step, by epoch.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/config/fields.h>
#include <lightning/config/node.h>
#include <lightning/util/export.h>

namespace lightning {

/// Factors by the epoch from which they hold, counted from 0: {{0, 1}, {4, 2}}; in YAML
/// {0: 1, 4: 2}.
class LIGHTNING_API AccumulationSchedule {
 public:
  AccumulationSchedule() = default;
  AccumulationSchedule(std::initializer_list<std::pair<const int64_t, int64_t>> factors)
      : factors_(factors) {}
  AccumulationSchedule(std::map<int64_t, int64_t> factors)  // NOLINT: implicit on purpose
      : factors_(std::move(factors)) {}

  const std::map<int64_t, int64_t>& factors() const { return factors_; }
  /// Batches of a step in this epoch; 1 before the first entry.
  int64_t at(int64_t epoch) const;
  /// Optimizer steps of the first `epochs` epochs of `batches` batches each, the last window of an
  /// epoch short where it must be; the largest number there is when it has no room.
  int64_t steps_in(int64_t epochs, int64_t batches) const;

  void read(const config::ConfigNode& node, std::string_view path);
  config::ConfigNode to_node() const;
  static std::string type_name() { return "map of epochs to factors"; }

 private:
  std::map<int64_t, int64_t> factors_;
};

struct GradientAccumulationSchedulerOptions {
  /// Required. Epochs are >= 0, factors >= 1.
  AccumulationSchedule scheduling = {};
};

LIGHTNING_FIELDS(GradientAccumulationSchedulerOptions,
                 LIGHTNING_FIELD(scheduling,
                                 "batches of a step by the epoch from which they hold, such as "
                                 "{0: 1, 4: 2} (required)"))

/// Sets TrainerContext::set_accumulate_grad_batches() at the start of each epoch. It needs
/// accumulate_grad_batches: 1 of the Trainer and automatic optimization. A run that resumes in the
/// middle of an epoch continues with that epoch's factor; a schedule that was changed holds from
/// the next epoch on. Sync: none.
class LIGHTNING_API GradientAccumulationScheduler final : public Callback {
 public:
  using Options = GradientAccumulationSchedulerOptions;
  /// Throws ConfigError for an empty schedule, epochs below 0 and factors below 1.
  explicit GradientAccumulationScheduler(GradientAccumulationSchedulerOptions options);

  const AccumulationSchedule& scheduling() const { return options_.scheduling; }
  /// That of the first such callback, or nullptr.
  static const AccumulationSchedule* find(const std::vector<std::shared_ptr<Callback>>& callbacks);

  /// Throws ConfigError with manual optimization and when accumulate_grad_batches is set, too.
  void setup(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void on_train_epoch_start(TrainerContext& trainer, LightningModule& module) override;

 private:
  GradientAccumulationSchedulerOptions options_;
};

}  // namespace lightning
