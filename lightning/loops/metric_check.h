/// The metrics that callbacks (Callback::required_metrics()) and LR schedules can't do without:
/// their names are checked as soon as it can be known what is logged.
#pragma once

#include <string>

#include <lightning/loops/run_state.h>
#include <lightning/util/error.h>

namespace lightning {

/// A required metric isn't logged, or one has a name that a logger can't take. The loops save the
/// state before they pass it on, so that what was trained isn't lost.
class MetricNameError : public ConfigError {
 public:
  explicit MetricNameError(const std::string& text, bool is_reserved = false)
      : ConfigError(text), is_reserved_(is_reserved) {}
  /// Then no row can be written.
  bool is_reserved() const { return is_reserved_; }

 private:
  bool is_reserved_;
};

/// Throws MetricNameError when a metric that goes to the loggers is named like a column of the CSV
/// file (step, epoch, time_seconds). For places where names are known before a row is due.
void check_reserved_names(const RunState& run);

/// What has been seen; of a resumed run what it had logged before. Only the last is complete:
/// training_step() and the hooks at an epoch's end may log any name. Before that a name is refused
/// when it is that of a validation ("val_...") and one that was logged is like it.
enum class MetricsKnown { kAfterSanityCheck, kAfterResume, kAfterValidation, kAfterEpoch };

/// Throws MetricNameError that names the callback's option, the metric and what was logged. Every
/// rank must call it; all throw when rank 0 does.
void check_metrics(RunState& run, MetricsKnown known);

/// In a fit without sanity check: one warning that lists what can't be known yet. Names that the
/// run had logged before it was resumed are known. Sync: waits for the device.
void warn_of_unchecked_metrics(RunState& run);

}  // namespace lightning
