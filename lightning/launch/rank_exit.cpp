#include <lightning/launch/rank_exit.h>

#include <cstring>

#include <lightning/launch/launcher.h>
#include <lightning/util/error.h>
#include <lightning/util/exit_codes.h>

namespace lightning::detail {

int exit_code_of_run(int own_code, size_t ends_before_own, const std::vector<RankExit>& ends) {
  for (size_t i = 0; i < ends_before_own; ++i) {
    if (ends[i].failed()) return ends[i].code;
  }
  if (own_code != 0 && own_code != kPeerFailureExitCode) return own_code;
  for (const RankExit& end : ends) {
    if (end.failed()) return end.code;
  }
  if (own_code != 0) return own_code;
  for (const RankExit& end : ends) {
    if (end.code != 0) return end.code;
  }
  return 0;
}

std::string describe(const RankExit& end) {
  const std::string who = concat("rank ", end.rank, " (pid ", end.pid, ") ended ");
  if (end.signal == 0) return concat(who, "with exit code ", end.code);
  return concat(who, "by signal ", end.signal, " (", ::strsignal(end.signal), ")");
}

}  // namespace lightning::detail
