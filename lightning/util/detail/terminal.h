/// Writing to the program's standard error, which may end before the program does: the terminal was
/// closed, or who read the pipe has ended.
#pragma once

#include <string_view>

#include <lightning/util/export.h>

namespace lightning::detail {

/// Writes all of it. Never raises SIGPIPE, and never fails: what can't be written is lost, which
/// the log file says the first time.
LIGHTNING_API void write_to_stderr(std::string_view text);

}  // namespace lightning::detail
