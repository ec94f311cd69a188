/// What callbacks that watch a metric have in common.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <lightning/config/fields.h>
#include <lightning/core/trainer_context.h>
#include <lightning/util/export.h>

namespace lightning {

/// Which values of a metric are better.
enum class MonitorMode { kMin, kMax };

LIGHTNING_ENUM(MonitorMode, LIGHTNING_ENUMERATOR(kMin, "min"), LIGHTNING_ENUMERATOR(kMax, "max"))

LIGHTNING_API std::string_view to_string(MonitorMode mode);

/// The latest value of a metric. Without one: nothing (and a warning) as long as the first
/// validation is still to come, else a ConfigError that names the callback and lists what was
/// logged. Sync: as TrainerContext::callback_metrics().
LIGHTNING_API std::optional<double> monitored_value(TrainerContext& trainer,
                                                    std::string_view callback,
                                                    const std::string& monitor);

}  // namespace lightning
