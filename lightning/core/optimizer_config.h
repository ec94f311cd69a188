/// What configure_optimizers() returns: one optimizer, an optimizer with its LR schedule, or
/// several.
#pragma once

#include <concepts>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <lightning/config/class_spec.h>
#include <lightning/optim/lr_scheduler.h>
#include <lightning/optim/registry.h>
#include <lightning/util/export.h>

namespace torch::optim {
class Optimizer;
}

namespace lightning {

/// When an LR scheduler steps.
enum class Interval { kEpoch, kStep };

struct LRSchedulerConfig {
  std::shared_ptr<optim::LRScheduler> scheduler;
  Interval interval = Interval::kEpoch;
  /// Steps once in this many intervals; >= 1.
  int64_t frequency = 1;
  /// Name in the LearningRateMonitor; empty: made from the optimizer's class.
  std::string name = "";
};

struct OptimizerConfig {
  std::shared_ptr<torch::optim::Optimizer> optimizer;
  /// No scheduler by default.
  LRSchedulerConfig lr_scheduler = {};
};

/// The optimizer and the LR scheduler that a config or a program names for modules that don't
/// override configure_optimizers(); empty: none.
struct OptimizerSpecs {
  config::SpecOf<optim::optimizer_registry> optimizer = {};
  config::SpecOf<optim::lr_scheduler_registry> lr_scheduler = {};
};

class LIGHTNING_API OptimizerList {
 public:
  /// No optimizer: fit() refuses it.
  OptimizerList() = default;
  template <typename T>
  requires std::derived_from<T, torch::optim::Optimizer> OptimizerList(
      std::shared_ptr<T> optimizer)  // NOLINT: implicit on purpose
      : configs_{OptimizerConfig{std::move(optimizer)}} {}
  OptimizerList(OptimizerConfig config) : configs_{std::move(config)} {}                 // NOLINT
  OptimizerList(std::vector<OptimizerConfig> configs) : configs_(std::move(configs)) {}  // NOLINT

  std::vector<OptimizerConfig>& configs() { return configs_; }
  const std::vector<OptimizerConfig>& configs() const { return configs_; }

 private:
  std::vector<OptimizerConfig> configs_;
};

}  // namespace lightning
