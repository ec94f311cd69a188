/// report_peer_failure: says on the terminal why this rank leaves a run that another rank has left.
#pragma once

#include <string>

#include <lightning/util/export.h>

namespace lightning::detail {

/// "error: text" on stderr, whichever rank this is and also where rank 0, which carries the output
/// of those it launched, is gone; and into the log file. What was told before isn't told again: the
/// Trainer tells it at once, since a launcher that saw the other rank end (srun
/// --kill-on-bad-exit, torchrun) may end this one before it has unwound to main().
LIGHTNING_API void report_peer_failure(const std::string& text);

}  // namespace lightning::detail
