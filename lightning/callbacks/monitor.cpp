#include <lightning/callbacks/monitor.h>

#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {

std::string_view to_string(MonitorMode mode) { return mode == MonitorMode::kMin ? "min" : "max"; }

std::optional<double> monitored_value(TrainerContext& trainer, std::string_view callback,
                                      const std::string& monitor) {
  const MetricMap& metrics = trainer.callback_metrics();
  const auto found = metrics.find(monitor);
  if (found != metrics.end()) return found->second;
  if (trainer.awaits_validation()) {
    log_warning(format("{}: {} has not been logged yet because no validation has run; skipping.",
                       callback, monitor));
    return std::nullopt;
  }
  std::string available;
  for (const auto& [name, value] : metrics) available += (available.empty() ? "" : ", ") + name;
  throw ConfigError(detail::concat(
      callback, ": monitor is \"", monitor, "\" and no such metric was logged, expected one of: ",
      available.empty() ? "(nothing was logged)" : available,
      ". HINT: log it in a step of the module, or monitor a different one."));
}

}  // namespace lightning
