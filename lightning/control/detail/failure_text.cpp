#include <lightning/control/detail/failure_text.h>

#include <algorithm>

#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

constexpr size_t kRanksNamed = 16;

}  // namespace

std::string rank_text(int64_t rank, const std::string& host) {
  return concat("rank ", rank, " (", host, ")");
}

std::string ranks_text(const std::vector<int64_t>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  const size_t named = std::min(ranks.size(), kRanksNamed);
  for (size_t i = 0; i < named; ++i) text += concat(i == 0 ? "" : ", ", ranks[i]);
  if (ranks.size() > named) text += concat(" and ", ranks.size() - named, " more");
  return text;
}

std::string collective_text(const std::string& name, uint64_t sequence) {
  return concat(name, " #", sequence);
}

std::string place_text(const RemoteStatus& status) {
  std::string text = concat("step ", status.global_step, " in ", status.phase);
  if (!status.collective.empty()) {
    text += concat(status.waiting ? ", waiting in " : ", last collective ",
                   collective_text(status.collective, status.sequence));
  }
  return text;
}

std::string failed_text(int64_t rank, const RankRecord& record, const std::string& text) {
  return format("{} failed at {}: {}", rank_text(rank, record.host), place_text(record.status),
                text);
}

std::string exited_text(int64_t rank, const RankRecord& record) {
  return format(
      "{} exited (its connection closed), last seen at {}. HINT: check the end of its output; the "
      "kernel log (dmesg) shows whether the OOM killer ended it.",
      rank_text(rank, record.host), place_text(record.status));
}

std::string unresponsive_text(int64_t rank, const RankRecord& record,
                              std::chrono::milliseconds silence) {
  return format("{} is not responding (no message for {}), last seen at {}.",
                rank_text(rank, record.host), seconds_text(silence), place_text(record.status));
}

std::string seconds_text(std::chrono::milliseconds time) {
  return concat(static_cast<double>(time.count()) / 1000.0, " s");
}

}  // namespace lightning::detail
