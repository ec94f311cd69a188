/// RankExit: how a launched rank ended, and which end decides about the run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <lightning/util/export.h>

namespace lightning::detail {

struct RankExit {
  int64_t rank = 0;
  int64_t pid = 0;
  int code = 0;    // as a shell counts: 128 + n for signal n
  int signal = 0;  // 0: it exited
  /// Ended because of another rank, a forwarded signal or the launcher: not a failure of its own.
  bool follows = false;

  bool failed() const { return code != 0 && !follows; }
};

/// The exit code of a run whose rank 0 ends with `own_code`; `ends` in order of time, the first
/// `ends_before_own` of them before rank 0 was through.
LIGHTNING_API int exit_code_of_run(int own_code, size_t ends_before_own,
                                   const std::vector<RankExit>& ends);

/// "rank 2 (pid 4711) ended by signal 9 (Killed)".
LIGHTNING_API std::string describe(const RankExit& end);

}  // namespace lightning::detail
