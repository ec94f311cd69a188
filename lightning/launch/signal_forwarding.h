/// Handlers that pass signals on to launched ranks before the program acts on them itself.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <vector>

namespace lightning::detail {

/// Installs them, once. The processes must never be reaped: a signal could reach an unrelated
/// process.
void start_forwarding(const std::vector<pid_t>& processes);

/// The handler that it installs.
using SignalHandler = void (*)(int, siginfo_t*, void*);
SignalHandler forwarding_handler() noexcept;

/// Does what the system does for a signal without a handler, from within a handler.
/// Async-signal-safe.
void act_by_default(int signal) noexcept;

/// Whether `signal` has been forwarded to end a process.
bool was_forwarded(int signal);

}  // namespace lightning::detail
