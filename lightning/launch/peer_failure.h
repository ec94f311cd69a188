/// report_peer_failure: reports on the terminal that this rank exits because another rank failed.
#pragma once

#include <string>

#include <lightning/util/export.h>

namespace lightning::detail {

/// "error: text" on stderr, whichever rank this is and also where rank 0, which carries the output
/// of those it launched, has exited; and into the log file. Each text once: the Trainer reports it
/// immediately, since a launcher that saw the other rank end (srun
/// --kill-on-bad-exit, torchrun) may end this one before it has unwound to main().
LIGHTNING_API void report_peer_failure(const std::string& text);

}  // namespace lightning::detail
