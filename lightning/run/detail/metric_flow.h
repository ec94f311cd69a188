/// MetricFlow: the way of logged values from the hooks to the loggers, the progress bar and the
/// callbacks.
#pragma once

#include <optional>
#include <string_view>

#include <lightning/core/detail/metric_registry.h>
#include <lightning/core/metric_log.h>
#include <lightning/data/batch.h>
#include <lightning/run/detail/host_metrics.h>
#include <lightning/run/detail/logger_connector.h>
#include <lightning/run/detail/metric_state_sync.h>
#include <lightning/run/detail/metric_sync.h>

namespace lightning {

// Which hooks may log, and at which level by default (docs/hooks.md).
/// Of the steps and batch hooks of a training; `step`: the global step that the batch belongs to,
/// counted once its window is done.
MetricLog::Scope step_scope(const Batch& batch, int64_t step);
/// Of hooks between batches.
MetricLog::Scope epoch_scope();

struct MetricFlow {
  MetricLog train;
  MetricLog evaluation;
  HostMetrics host;
  LoggerConnector connector;
  std::optional<MetricSync> sync;        // with several ranks
  MetricRegistry* registered = nullptr;  // the module's metrics
  ControlPlane* control = nullptr;       // with several ranks
  /// Loggers' positions to be saved instead of the present ones: rows after them are written again
  /// by the run that resumes (FitLoop::end_epoch, EvaluationLoop::run_validation).
  std::optional<StateDict> saved_positions;

  /// Values logged for `level` become those of all ranks, where they must be; at an epoch's end
  /// those of registered metrics are computed, and the metrics reset. Every rank must call it.
  void reduce(MetricLog& log, MetricLog::Level level, std::string_view interval) {
    if (level == MetricLog::Level::kEpoch && registered != nullptr) {
      compute_metric_values(log, *registered, control, interval);
    }
    if (sync) sync->reduce(log, level, interval);
  }
};

}  // namespace lightning
