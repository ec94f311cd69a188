#include <lightning/loggers/logger.h>

#include <utility>

#include <lightning/util/error.h>

namespace lightning {

Logger::~Logger() = default;

template <typename Body>
void Logger::if_open(const Body& body) {
  if (!open_) return;
  try {
    if (waiting_) {
      LoggerSetup setup = *std::exchange(waiting_, std::nullopt);
      setup.resume = &resume_;
      do_setup(setup);
    }
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
  waiting_.reset();
  if (setup.resume == nullptr) return if_open([&] { do_setup(setup); });
  if_open([&] { do_check(setup); });
  resume_ = *setup.resume;
  waiting_ = setup;
}

void Logger::open() {
  if_open([] {});
}

void Logger::log_metrics(const MetricRow& row) {
  if_open([&] { do_log_metrics(row); });
}

void Logger::log_hyperparameters(
    const std::vector<std::pair<std::string, std::string>>& parameters) {
  if_open([&] { do_log_hyperparameters(parameters); });
}

void Logger::flush() {
  if (waiting_) return;
  if_open([&] { do_flush(); });
}

StateDict Logger::state_dict() {
  if (waiting_) return open_ ? resume_ : StateDict();
  StateDict state;
  if_open([&] { state = do_state_dict(); });
  return state;
}

StateDict Logger::do_state_dict() {
  do_flush();
  return {};
}

void Logger::finalize(std::string_view status) {
  if (!waiting_) if_open([&] { do_finalize(status); });
  waiting_.reset();
  open_ = false;
}

}  // namespace lightning
