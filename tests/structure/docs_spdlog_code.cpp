// The C++ of docs/logging.md that includes spdlog, as docs_code.cpp has the rest.
#include <memory>

#include <lightning/util/spdlog_sink.h>
#include <spdlog/sinks/syslog_sink.h>

void log_to_syslog() {
  lightning::add_log_sink(
      std::make_shared<spdlog::sinks::syslog_sink_mt>("training", 0, LOG_USER, false));
}
