#include <lightning/loggers/registry.h>

#include <lightning/loggers/csv_logger.h>
#include <lightning/loggers/tensorboard_logger.h>

namespace lightning {

void register_builtin_loggers(config::Registry<Logger>& registry) {
  registry.add<CSVLogger, CSVLoggerOptions>("CSVLogger", "one table of all metrics, metrics.csv");
  registry.add<TensorBoardLogger, TensorBoardLoggerOptions>("TensorBoardLogger",
                                                            "event files for TensorBoard");
}

}  // namespace lightning
