/// Sends the library's messages to spdlog sinks of the program. This header includes nothing of
/// spdlog; the program that makes the sinks must be built with the same spdlog as the library:
/// docs/logging.md.
#pragma once

#include <memory>

#include <lightning/util/export.h>

namespace spdlog::sinks {
class sink;
}

namespace lightning {

/// The sink gets every message of this process from now on, of each rank and also those that ranks
/// other than 0 don't print, unless its own level drops it; it is flushed after each. A sink that
/// throws costs its message there, and a warning the first time. The sink must not log through the
/// library. Thread-safe, given a thread-safe sink (an `_mt` one). Throws ConfigError for a null
/// sink.
LIGHTNING_API void add_log_sink(std::shared_ptr<spdlog::sinks::sink> sink);

/// Messages that begin after the call don't reach the sink. Nothing happens if it was not added.
LIGHTNING_API void remove_log_sink(const std::shared_ptr<spdlog::sinks::sink>& sink);

}  // namespace lightning
