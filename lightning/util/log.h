/// Messages for the user's terminal. Warnings appear once for each text; ranks other than 0 are
/// silent on the terminal; what every rank says goes into its log file. The progress bar registers
/// itself as a sink, so that lines don't tear it.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include <lightning/util/export.h>

namespace lightning {

LIGHTNING_API void log_info(std::string_view text);
/// On whichever rank it is called.
LIGHTNING_API void log_on_every_rank(std::string_view text);
/// Only into this rank's log file.
LIGHTNING_API void log_to_file(std::string_view text);
/// "warning: text", once for each text.
LIGHTNING_API void log_warning(std::string_view text);

/// Where finished lines go (default: stderr). Returns the previous sink. Thread-safe.
using LogSink = std::function<void(std::string_view line)>;
LIGHTNING_API LogSink set_log_sink(LogSink sink);

/// Lines of this rank, those before included (the last 1000), are added to this file, each with the
/// time in UTC. A warning when it can't be written; the program goes on.
LIGHTNING_API void set_log_file(const std::filesystem::path& path);

/// Only rank 0 prints. Set once by the Trainer when ranks are known.
LIGHTNING_API void set_log_rank(int rank);

}  // namespace lightning
