#pragma once

#include <lightning/config/registry.h>
#include <lightning/loggers/logger.h>
#include <lightning/util/export.h>

namespace lightning {

/// The classes that trainer.logger may name: CSVLogger, TensorBoardLogger, and those that the
/// program adds in main().
LIGHTNING_API config::Registry<Logger>& logger_registry();

}  // namespace lightning
