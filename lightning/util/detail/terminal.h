/// Where messages go: the program's standard error, which may end before the program does: the
/// terminal was closed, or who read the pipe has ended; and the log file of a run.
#pragma once

#include <filesystem>
#include <string_view>

#include <lightning/util/export.h>

namespace lightning::detail {

/// Writes all of it. Never raises SIGPIPE, and never fails: what can't be written is lost, which
/// the log file says the first time.
LIGHTNING_API void write_to_stderr(std::string_view text);

/// The log file of a run: as set_log_file(), but a file that the program has set itself stays. An
/// empty path closes the one of a run; messages wait for the next.
LIGHTNING_API void set_run_log_file(const std::filesystem::path& path);

}  // namespace lightning::detail
