/// The epoch's values of registered metrics (LightningModule::register_metric()): computed from
/// their states, after those of all ranks have become one.
#pragma once

#include <string_view>

#include <lightning/control/control_plane.h>
#include <lightning/core/detail/metric_registry.h>
#include <lightning/core/metric_log.h>
#include <lightning/util/export.h>

namespace lightning {

/// At the end of `interval`: computes the values of the metrics that were logged in `log` with
/// on_epoch, puts them there, and resets all metrics that are logged there. With several ranks
/// (`control` isn't null) one exchange carries the states of all metrics, where sync_dist isn't
/// false; they are merged in the order of the ranks, so all ranks have the same bits. A rank that
/// saw no batch of an evaluation takes the names from the others.
///
/// Ranks: every rank must call it, with the same metrics registered; without any it does nothing.
/// Sync: waits for the device. Throws ConfigError on all ranks that names the metrics and ranks
/// when ranks logged different ones; DataError of Metric::compute().
LIGHTNING_API void compute_metric_values(MetricLog& log, const MetricRegistry& registry,
                                         ControlPlane* control, std::string_view interval);

}  // namespace lightning
