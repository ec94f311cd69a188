/// Runs another program and waits for it, for a limited time.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include <lightning/util/export.h>

namespace lightning::detail {

struct CommandResult {
  static constexpr int kNotFound = 127;
  static constexpr int kTimedOut = 124;

  int status = 0;      // exit status; 128 + N when signal N ended it; the two above
  std::string output;  // stdout and stderr, the first 64 KiB; what went wrong when it didn't run
};

/// Looks for arguments[0] in PATH. The program gets default signal handling and a process group of
/// its own, so that a signal meant for this process's group doesn't reach it; after `limit` it is
/// killed. Never throws for what the program does.
LIGHTNING_API CommandResult run_command(const std::vector<std::string>& arguments,
                                        std::chrono::milliseconds limit);

}  // namespace lightning::detail
