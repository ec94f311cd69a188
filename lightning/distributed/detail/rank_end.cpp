#include <lightning/distributed/detail/rank_end.h>

#include <cstring>

#include <lightning/distributed/launcher.h>
#include <lightning/util/error.h>

namespace lightning::detail {

int exit_code_of_run(int own_code, size_t ends_before_own, const std::vector<RankEnd>& ends) {
  for (size_t i = 0; i < ends_before_own; ++i) {
    if (ends[i].failed()) return ends[i].code;
  }
  if (own_code != 0 && own_code != kLostRankExitCode) return own_code;
  for (const RankEnd& end : ends) {
    if (end.failed()) return end.code;
  }
  if (own_code != 0) return own_code;
  for (const RankEnd& end : ends) {
    if (end.code != 0) return end.code;
  }
  return 0;
}

std::string describe(const RankEnd& end) {
  const std::string who = concat("rank ", end.rank, " (pid ", end.pid, ") ended ");
  if (end.signal == 0) return concat(who, "with exit code ", end.code);
  return concat(who, "by signal ", end.signal, " (", ::strsignal(end.signal), ")");
}

}  // namespace lightning::detail
