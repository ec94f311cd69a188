/// Handlers that pass signals on to launched ranks before the program acts on them itself.
#pragma once

#include <sys/types.h>

#include <vector>

namespace lightning::detail {

/// Installs them, once. The processes must never be reaped: a signal could meet a stranger.
void start_forwarding(const std::vector<pid_t>& processes);

/// Whether `signal` has been forwarded to end a process.
bool was_forwarded(int signal);

}  // namespace lightning::detail
