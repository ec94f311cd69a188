/// MetricRegistry: the metrics that a module registered (LightningModule::register_metric()). It
/// knows them by name, so that their states go into checkpoints and to other ranks, and notes where
/// each is logged.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

class MetricLog;

namespace metrics {
class Metric;
}

class LIGHTNING_API MetricRegistry {
 public:
  /// Throws ConfigError for a null metric, for a name that is empty or taken, and for a metric that
  /// is registered already.
  void add(std::string name, std::shared_ptr<metrics::Metric> metric);
  bool empty() const { return entries_.empty(); }
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  /// Throws ConfigError that lists the names there are.
  metrics::Metric& at(std::string_view name) const;

  /// The name of `metric`, which is logged as `logged_as` in `log`. Throws ConfigError when it is
  /// not registered, or logged under a different name or in a different log too: one state can't be
  /// that of two intervals.
  const std::string& note_logged(const metrics::Metric& metric, const MetricLog& log,
                                 std::string_view logged_as);

  /// For the beginning of a run: resets all, and forgets where they were logged.
  void reset();
  /// Until drop_batch(), what the metrics are given is the present batch, which drop_batch()
  /// forgets.
  void begin_batch();
  void drop_batch();

  /// For checkpoints.
  StateDict state_dict() const;
  /// The names in a state; throws CheckpointError when it has a name twice.
  static std::vector<std::string> names_in(const StateDict& state);
  /// Restores the metrics whose names are in `state`, and resets the others. Throws CheckpointError
  /// that names the metric and the entry that doesn't fit.
  void load_state_dict(const StateDict& state);
  /// Adds to each metric what a different rank had in its own. Throws as load_state_dict() does.
  void merge_state_dict(const StateDict& state);

 private:
  struct Entry {
    std::string name;
    std::shared_ptr<metrics::Metric> metric;
    const MetricLog* log = nullptr;  // null: not logged yet
    std::string logged_as;
  };
  const Entry* find(std::string_view name) const;
  /// Calls visit(metric, its state) for each name in `state` that is registered.
  template <typename Visit>
  void for_each_in(const StateDict& state, const Visit& visit);

  std::vector<Entry> entries_;
};

/// While it lives, what registered metrics are given doesn't count: a batch that stands in for one
/// because this rank has run out of data (Batch::is_padding()).
class LIGHTNING_API UncountedMetrics {
 public:
  UncountedMetrics(MetricRegistry& registry, bool active)
      : registry_(active ? &registry : nullptr) {
    if (registry_ != nullptr) registry_->begin_batch();
  }
  ~UncountedMetrics() {
    if (registry_ != nullptr) registry_->drop_batch();
  }
  UncountedMetrics(const UncountedMetrics&) = delete;
  UncountedMetrics& operator=(const UncountedMetrics&) = delete;

 private:
  MetricRegistry* registry_;
};

}  // namespace lightning
