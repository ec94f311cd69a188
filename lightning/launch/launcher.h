/// Launcher: starts the other processes of this machine, once per program. The parent is rank 0 and
/// runs its own program again, with the same arguments, for each other rank.
///
/// Neither side outlives the other: when the parent dies, whatever the cause, the other ranks say
/// so and end; when it ends, it waits for them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <lightning/util/export.h>

namespace lightning {

/// At the end of main() (run_main() calls it): waits for the processes that launch_ranks() started,
/// ends those that outlive the grace period, and returns the code to exit with. That is the first
/// failure's, whichever rank it was (128 + n for signal n); ranks that ended with
/// kPeerFailureExitCode, by a forwarded signal or because of this call count only when none failed
/// by itself. `own_code` when nothing was launched. A program that never calls it waits at its exit
/// all the same, and exits with its own code.
LIGHTNING_API int finish_launched_ranks(int own_code);

/// How launched rank `rank` ended: "rank 2 (pid 4711) ended by signal 9 (Killed)"; empty while it
/// runs, or when it wasn't launched by this process. Any thread.
LIGHTNING_API std::string launched_rank_exit(int64_t rank);

/// Sends a signal to the launched ranks; nothing when there are none. Async-signal-safe: for
/// handlers that were installed after launch_ranks().
LIGHTNING_API void forward_signal(int signal) noexcept;

// ---- in a process that launch_ranks() started

/// Whether this is one. Async-signal-safe after watch_launcher().
LIGHTNING_API bool is_launched_rank() noexcept;

/// From here on this process survives the death of rank 0 for the grace period, so that it can say
/// what it knows; until then, it gets SIGKILL at once. To be called by the main thread, early
/// (run_main() and World::join() do). Does nothing in other processes and when called again.
LIGHTNING_API void watch_launcher();

/// Writes to the terminal's stderr even when rank 0, which carries all other output, has exited or
/// hangs. Lines begin with "[rank 1] "; in a process that was not launched it is plain stderr.
/// Gives up after a second in which no process reads.
LIGHTNING_API void write_final_message(std::string_view text) noexcept;

/// Sends SIGKILL to rank 0 when it is stopped (SIGSTOP), for a rank that exits because of it: no
/// other process would.
LIGHTNING_API void kill_stopped_launcher() noexcept;

}  // namespace lightning
