/// Messages for the user. On the terminal, ranks other than 0 are silent but for
/// log_on_every_rank(); each rank writes all of its messages to its log file (RUN/logs/rank_N.log).
/// All functions are thread-safe. None may be called from a signal handler or between fork() and
/// exec().
///
/// Environment variables, read at the first message:
///   LIGHTNING_LOG_LEVEL    trace, debug, info (default), warning, error or off
///   LIGHTNING_LOG_PATTERN  lines of log files, in spdlog's notation; %k: the rank; times are UTC.
///                          Default: %Y-%m-%dT%H:%M:%S.%eZ [rank %k] [%l] %v
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>

#include <lightning/util/export.h>

namespace lightning {

enum class LogLevel : uint8_t { kTrace, kDebug, kInfo, kWarning, kError, kOff };

/// Messages below this level are dropped: on the terminal, in log files and by added sinks. Those
/// of log_unfiltered() never are.
LIGHTNING_API void set_log_level(LogLevel level);
/// For messages that are expensive to put together.
LIGHTNING_API bool is_logged(LogLevel level);

/// On the terminal, all but info have the name of their level in front: "warning: text".
LIGHTNING_API void log_trace(std::string_view text);
LIGHTNING_API void log_debug(std::string_view text);
LIGHTNING_API void log_info(std::string_view text);
/// Once for each key, by default the text itself. Give a key to a warning whose text contains
/// values that change.
LIGHTNING_API void log_warning(std::string_view text, std::string_view key = {});
LIGHTNING_API void log_error(std::string_view text);

/// On the terminal of whichever rank calls it.
LIGHTNING_API void log_on_every_rank(std::string_view text, LogLevel level = LogLevel::kInfo);
/// The same, whatever the level is: for the error that ends a program, and for the output of other
/// processes, which have dropped what they don't want.
LIGHTNING_API void log_unfiltered(std::string_view text, LogLevel level = LogLevel::kInfo);
/// Not on the terminal.
LIGHTNING_API void log_to_file(std::string_view text, LogLevel level = LogLevel::kInfo);

/// Where lines for the terminal go (default: stderr). Returns the previous sink, which is not in
/// use any more. The sink must not log. lightning/util/spdlog_sink.h adds sinks that get all
/// messages.
using LogSink = std::function<void(std::string_view line)>;
LIGHTNING_API LogSink set_log_sink(LogSink sink);

/// Appends this rank's messages to this file, the last 1000 before the call included. Warns, and
/// continues, when the file cannot be written. An empty path closes the file.
LIGHTNING_API void set_log_file(const std::filesystem::path& path);

/// Only rank 0 prints. Set once by the Trainer when ranks are known.
LIGHTNING_API void set_log_rank(int rank);

}  // namespace lightning
