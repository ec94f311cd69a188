/// MetricSync: makes logged values those of all ranks. An interval costs one collective of a fixed
/// size, whatever was logged; names travel only when they change, over the control plane.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/collectives/process_group.h>
#include <lightning/control/control_plane.h>
#include <lightning/core/metric_log.h>
#include <lightning/util/export.h>

namespace lightning {

/// What comparing the names of values has cost beyond the one collective of each interval.
struct NameAgreements {
  int64_t count = 0;  // as many collectives and exchanges
  int64_t collective_bytes = 0;
  int64_t exchange_bytes = 0;
};

/// Intervals in which every rank has batches, so that none may have logged nothing.
inline constexpr std::string_view kStepInterval = "training";
inline constexpr std::string_view kEpochInterval = "the training epoch";

/// "\"val_loss\" on rank 0+2 only" for each name that some ranks logged and others didn't; empty
/// when all are the same names, be it in different orders.
LIGHTNING_API std::string name_differences(const std::vector<std::vector<std::string>>& by_rank);

class LIGHTNING_API MetricSync {
 public:
  /// Both must outlive it.
  MetricSync(ProcessGroup& group, ControlPlane& control, at::Device device)
      : group_(&group), control_(&control), device_(device) {}

  /// Replaces the values that must be reduced at `level` by those of all ranks: means by weight,
  /// sums, least and greatest values. A rank that saw no batch of an evaluation takes the names
  /// from the others. Every rank must call it. Sync: waits for the device, once per interval.
  /// Throws ConfigError that names the values and ranks when ranks logged different ones in
  /// `interval`.
  void reduce(MetricLog& log, MetricLog::Level level, std::string_view interval);

  const NameAgreements& agreements() const { return agreements_; }
  /// What an interval's collective holds.
  int64_t interval_bytes() const;

 private:
  using Parts = std::vector<MetricLog::Part>;
  std::vector<double> gather(const Parts& parts, bool changed);
  void agree_on_names(Parts& parts, std::string_view interval);

  ProcessGroup* group_;
  ControlPlane* control_;
  at::Device device_;
  int64_t capacity_ = 16;  // values that fit into the collective
  NameAgreements agreements_;
  std::vector<uint32_t> known_hashes_;  // of lists of names that all ranks have compared
};

}  // namespace lightning
