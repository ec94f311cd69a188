#include <lightning/loggers/registry.h>

#include <lightning/loggers/csv_logger.h>
#include <lightning/loggers/tensorboard_logger.h>

namespace lightning {
namespace {

config::Registry<Logger> builtin_loggers() {
  config::Registry<Logger> registry("logger");
  registry.add<CSVLogger, CSVLoggerOptions>("CSVLogger", "one table of all metrics, metrics.csv");
  registry.add<TensorBoardLogger, TensorBoardLoggerOptions>("TensorBoardLogger",
                                                            "event files for TensorBoard");
  return registry;
}

}  // namespace

config::Registry<Logger>& logger_registry() {
  static config::Registry<Logger> registry = builtin_loggers();
  return registry;
}

}  // namespace lightning
