/// DryRun: what each part of a fit sends, counted while rank 0 of ranks that don't exist runs it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <lightning/distributed/world.h>
#include <lightning/run/detail/metric_sync.h>
#include <lightning/util/export.h>

namespace lightning {

/// Messages and bytes of payload of one rank, by name of the collective; kControlPlane for the
/// exchanges beside them.
using Traffic = std::map<std::string, CollectiveCounters>;
LIGHTNING_API void add(Traffic& sum, const Traffic& traffic, int64_t times = 1);

class LIGHTNING_API DryRun {
 public:
  static constexpr const char* kControlPlane = "control plane";
  // Parts of a fit that happen again and again, and its end, which happens once like its start.
  static constexpr std::string_view kStep = "step";  // with all micro-batches of the window
  static constexpr std::string_view kStepMetrics = "step metrics";
  static constexpr std::string_view kValidation = "validation";
  static constexpr std::string_view kEpochEnd = "epoch end";
  static constexpr std::string_view kFitEnd = "fit end";

  /// Of the present run. `world` and `metrics` are null with one rank, else they must outlive it.
  DryRun(World* world, const MetricSync* metrics);

  /// What is sent from here on belongs to `part`, until the next call. Batches between two
  /// optimizer steps are one kStep.
  void enter(std::string_view part, int64_t global_step);

  /// How often that part was entered, the present time included.
  int64_t count(std::string_view part) const;
  /// What it has sent at its last time, without what was sent because names of logged values were
  /// new. Nothing for a part that never ran, nor for the first step, which has more to do.
  Traffic last(std::string_view part) const;
  /// Of the whole run until now.
  Traffic total() const;

 private:
  struct Snapshot {
    Traffic traffic;
    NameAgreements agreements;
  };
  struct Part {
    int64_t times = 0;
    Traffic traffic;  // of the last time
  };
  Snapshot now() const;
  Traffic since_entered() const;

  World* world_;
  const MetricSync* metrics_;
  Snapshot begin_;
  Snapshot entered_;  // when the present part was entered
  std::string present_;
  std::map<std::string, Part, std::less<>> parts_;
  int64_t step_ = -1;  // in which the last kStep began
};

}  // namespace lightning
