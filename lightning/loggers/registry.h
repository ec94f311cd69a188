/// The loggers that YAML may name.
#pragma once

#include <lightning/config/registry.h>
#include <lightning/loggers/logger.h>
#include <lightning/util/export.h>

namespace lightning {

/// Adds CSVLogger and TensorBoardLogger.
LIGHTNING_API void register_builtin_loggers(config::Registry<Logger>& registry);

}  // namespace lightning
