/// Exit codes of a program: what run_main() returns, and how a rank exits when a different one
/// failed.
#pragma once

namespace lightning {

inline constexpr int kFailureExitCode = 1;
/// A wrong command line, config or option.
inline constexpr int kUsageExitCode = 2;
/// A process that was ended because its main thread stayed blocked after a failure.
inline constexpr int kHungExitCode = 70;
/// A rank that exited because a different one failed (run_main() returns it for a
/// DistributedError). The exit code of a run is that of the rank that failed first, where one did.
inline constexpr int kPeerFailureExitCode = 75;

}  // namespace lightning
