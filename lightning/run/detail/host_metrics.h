/// HostMetrics: the latest values of everything logged, for callbacks. Rows are kept as they come
/// and read from the device only on request.
#pragma once

#include <vector>

#include <lightning/core/metric_log.h>
#include <lightning/core/trainer_context.h>
#include <lightning/util/export.h>

namespace lightning {

/// Moves the values to the host. Sync: waits for the device when any value is there.
LIGHTNING_API void read_row(const LoggedRow& row, MetricMap& into);

/// The metrics of each of `num_loaders` loaders: those named `.../dataloader_idx_N` go to the N-th,
/// the others to all.
LIGHTNING_API std::vector<MetricMap> split_by_loader(const MetricMap& metrics, int64_t num_loaders);

class LIGHTNING_API HostMetrics {
 public:
  void merge(LoggedRow row) { unread_.push_back(std::move(row)); }
  /// Sync: see read_row().
  const MetricMap& read();
  void clear();

 private:
  std::vector<LoggedRow> unread_;
  MetricMap values_;
};

}  // namespace lightning
