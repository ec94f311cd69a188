/// HostMetrics: the latest values of everything logged, for callbacks. The newest value of each
/// name is kept as it comes and read from the device only on request.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/core/metric_log.h>
#include <lightning/core/trainer_context.h>
#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

/// Moves the values to the host. Sync: waits for the device when any value is there.
LIGHTNING_API void read_row(const LoggedRow& row, MetricMap& into);

/// The metrics of each of `num_loaders` loaders: those named `.../dataloader_idx_N` go to the N-th,
/// the others to all.
LIGHTNING_API std::vector<MetricMap> split_by_loader(const MetricMap& metrics, int64_t num_loaders);

class LIGHTNING_API HostMetrics {
 public:
  /// A value doesn't replace one of a later step.
  void merge(LoggedRow row);
  /// Values that belong to a later step are from here on said to belong to `step`.
  void limit_steps(int64_t step);
  /// Sync: see read_row().
  const MetricMap& read();
  /// LoggedValue::step of the value that read() gives; nothing for other names.
  std::optional<int64_t> step_of(std::string_view name) const;
  void clear();

  /// Sync: see read_row().
  StateDict state_dict();
  /// Throws CheckpointError.
  void load_state_dict(const StateDict& state);

 private:
  LoggedRow unread_;  // one value of a name: nothing grows while nobody reads
  MetricMap values_;
  std::map<std::string, int64_t, std::less<>> steps_;
};

}  // namespace lightning
