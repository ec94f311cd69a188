/// run_main: what a program's main() returns. Errors become one clear message and an exit code.
#pragma once

#include <functional>

#include <lightning/util/export.h>

namespace lightning {

/// Calls `body` and returns what it returns. Exceptions are caught and printed to stderr as one
/// message, "error: ...":
///   ConfigError            exit code 2
///   Interrupted            its own code: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP
///   DistributedError       kPeerFailureExitCode (75)
///   c10::Error             exit code 1, without the C++ backtrace that LibTorch adds
///   any other exception    exit code 1
/// Where the program has launched other ranks it waits for them and
/// returns the code of the first failure among all ranks.
LIGHTNING_API int run_main(const std::function<int()>& body);
LIGHTNING_API int run_main(int argc, char** argv, const std::function<int(int, char**)>& body);

}  // namespace lightning
