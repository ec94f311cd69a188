#include <lightning/loggers/logger.h>

#include <lightning/util/error.h>

namespace lightning {

Logger::~Logger() = default;

template <typename Body>
void Logger::if_open(const Body& body) {
  if (!open_) return;
  try {
    body();
  } catch (const CheckpointError& error) {  // what the file system throws
    open_ = false;
    throw Error(detail::concat(name(), ": ", error.what()));
  } catch (...) {
    open_ = false;
    throw;
  }
}

void Logger::setup(const LoggerSetup& setup) {
  open_ = setup.global_rank == 0;
  if_open([&] { do_setup(setup); });
}

void Logger::log_metrics(const MetricRow& row) {
  if_open([&] { do_log_metrics(row); });
}

void Logger::log_hyperparameters(
    const std::vector<std::pair<std::string, std::string>>& parameters) {
  if_open([&] { do_log_hyperparameters(parameters); });
}

void Logger::flush() {
  if_open([&] { do_flush(); });
}

StateDict Logger::state_dict() {
  StateDict state;
  if_open([&] { state = do_state_dict(); });
  return state;
}

StateDict Logger::do_state_dict() {
  do_flush();
  return {};
}

void Logger::finalize(std::string_view status) {
  if_open([&] { do_finalize(status); });
  open_ = false;
}

}  // namespace lightning
