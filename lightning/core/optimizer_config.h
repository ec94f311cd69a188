/// What configure_optimizers() returns: one optimizer, an optimizer with its LR schedule, or
/// several.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
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
  /// The metric of a schedule that watches one (ReduceLROnPlateau); empty: what its options name.
  std::string monitor = "";
  /// Without that metric: an error; else a warning, and the schedule isn't stepped.
  bool strict = true;

  /// The metric that the Trainer gives the schedule.
  std::string monitored() const { return monitor.empty() ? scheduler->monitor() : monitor; }
};

/// The schedules of an optimizer, none, one or several: its rates are multiplied by all of them.
///   .lr_scheduler = scheduler
///   .lr_scheduler = {{.scheduler = scheduler, .interval = Interval::kStep}}
///   .lr_scheduler = {{.scheduler = warmup, .interval = Interval::kStep},
///                    {.scheduler = plateau, .monitor = "val_loss"}}
class LIGHTNING_API LRSchedulers {
 public:
  LRSchedulers() = default;
  /// One that steps after each epoch.
  template <typename T>
  requires std::derived_from<T, optim::LRScheduler> LRSchedulers(
      std::shared_ptr<T> scheduler)  // NOLINT: implicit on purpose
  {
    if (scheduler != nullptr) configs_.push_back({.scheduler = std::move(scheduler)});
  }
  LRSchedulers(LRSchedulerConfig config) : configs_{std::move(config)} {}                 // NOLINT
  LRSchedulers(std::vector<LRSchedulerConfig> configs) : configs_(std::move(configs)) {}  // NOLINT
  LRSchedulers(std::initializer_list<LRSchedulerConfig> configs) : configs_(configs) {}   // NOLINT

  bool empty() const { return configs_.empty(); }
  size_t size() const { return configs_.size(); }
  LRSchedulerConfig& operator[](size_t index) { return configs_[index]; }
  const LRSchedulerConfig& operator[](size_t index) const { return configs_[index]; }
  auto begin() { return configs_.begin(); }
  auto end() { return configs_.end(); }
  auto begin() const { return configs_.begin(); }
  auto end() const { return configs_.end(); }

 private:
  std::vector<LRSchedulerConfig> configs_;
};

struct OptimizerConfig {
  std::shared_ptr<torch::optim::Optimizer> optimizer;
  /// No schedule by default.
  LRSchedulers lr_scheduler = {};
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
