/// Exit codes of a program: what run_main() returns, and how a rank ends because of another one.
#pragma once

namespace lightning {

inline constexpr int kFailureExitCode = 1;
/// A wrong command line, config or option.
inline constexpr int kUsageExitCode = 2;
/// A process that was ended because its main thread stayed blocked after a failure.
inline constexpr int kHungExitCode = 70;
/// A rank that ended because another one failed (run_main() returns it for a DistributedError):
/// never the failure that a run is judged by when there is another.
inline constexpr int kPeerFailureExitCode = 75;

}  // namespace lightning
