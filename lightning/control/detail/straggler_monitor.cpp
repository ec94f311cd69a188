#include <lightning/control/detail/straggler_monitor.h>

#include <algorithm>

#include <lightning/control/detail/failure_text.h>
#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

// A rank's status is written in pieces: one that was reported at least twice is complete.
constexpr std::chrono::seconds kSureAfter{3};

std::string late_text(const std::vector<RankRecord>& ranks, const std::vector<int64_t>& late) {
  const RankRecord& first = ranks[static_cast<size_t>(late.front())];
  std::string text = concat(" for ", rank_text(late.front(), first.host), ", which is at ",
                            place_text(first.status));
  if (late.size() > 1) {
    text += concat(", and for ", ranks_text({late.begin() + 1, late.end()}));
  }
  return text;
}

}  // namespace

StragglerMonitor::StragglerMonitor(int64_t world_size, std::chrono::milliseconds warning,
                                   std::chrono::milliseconds end)
    : warning_(warning), end_(end), collective_waits_(static_cast<size_t>(world_size)) {}

void StragglerMonitor::follow(Wait& wait, bool active, uint64_t sequence, Deadline now) {
  if (active && wait.active && wait.sequence == sequence) return;
  wait = Wait{active, sequence, now, false};
}

std::optional<bool> StragglerMonitor::due(Wait& wait, Deadline now) const {
  if (!wait.active) return std::nullopt;
  if (now - wait.since >= end_) return true;
  if (wait.warned || now - wait.since < warning_) return std::nullopt;
  wait.warned = true;
  return false;
}

std::optional<LateFinding> StragglerMonitor::check(const std::vector<RankRecord>& ranks,
                                                   const ExchangeTable& exchange, Deadline now) {
  const bool long_phase = std::any_of(
      ranks.begin(), ranks.end(), [](const RankRecord& rank) { return rank.status.long_phase; });
  follow(exchange_wait_, exchange.open() && !long_phase, exchange.number(), now);
  for (size_t i = 0; i < ranks.size(); ++i) {
    const RemoteStatus& status = ranks[i].status;
    follow(collective_waits_[i], status.waiting && !long_phase, status.sequence, now);
  }
  if (const std::optional<bool> end = due(exchange_wait_, now)) {
    return LateFinding{*end, late_exchange(ranks, exchange, *end)};
  }
  if (auto finding = differing(ranks, now)) return finding;
  // Those behind the first are in the same collective, or late themselves.
  size_t first = ranks.size();
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (!collective_waits_[i].active) continue;
    if (first == ranks.size() ||
        collective_waits_[i].sequence > collective_waits_[first].sequence) {
      first = i;
    }
  }
  if (first == ranks.size()) return std::nullopt;
  const std::optional<bool> end = due(collective_waits_[first], now);
  if (!end) return std::nullopt;
  const RemoteStatus& status = ranks[first].status;
  return LateFinding{*end, late_collective(ranks, status.sequence, status.collective, *end)};
}

std::optional<LateFinding> StragglerMonitor::differing(const std::vector<RankRecord>& ranks,
                                                       Deadline now) const {
  std::optional<size_t> first;
  for (size_t i = 0; i < ranks.size(); ++i) {
    const Wait& wait = collective_waits_[i];
    if (!wait.active || now - wait.since < kSureAfter) continue;
    if (!first) {
      first = i;
      continue;
    }
    const RemoteStatus& a = ranks[*first].status;
    const RemoteStatus& b = ranks[i].status;
    if (a.sequence != b.sequence || a.collective == b.collective) continue;
    return LateFinding{
        true,
        {FailureKind::kDisagreement, -1,
         concat(rank_text(static_cast<int64_t>(*first), ranks[*first].host), " waits in ",
                detail::collective_text(a.collective, a.sequence), " and ",
                rank_text(static_cast<int64_t>(i), ranks[i].host), " in ",
                detail::collective_text(b.collective, b.sequence),
                ", expected all ranks in the same collective. HINT: check for code that only "
                "some ranks execute.")}};
  }
  return std::nullopt;
}

void StragglerMonitor::add_pause(Deadline::duration pause) {
  exchange_wait_.since += pause;
  for (Wait& wait : collective_waits_) wait.since += pause;
}

std::string StragglerMonitor::waiting_text(const std::vector<int64_t>& waiting,
                                           const std::string& place, bool end) const {
  return concat(ranks_text(waiting), end ? " waited for " : " have been waiting for ",
                seconds_text(end ? end_ : warning_), " in ", place);
}

Failure StragglerMonitor::late_exchange(const std::vector<RankRecord>& ranks,
                                        const ExchangeTable& exchange, bool end) const {
  const std::vector<int64_t> late = exchange.missing();
  return {FailureKind::kLate, late.front(),
          waiting_text(exchange.present(), exchange.title(), end) + late_text(ranks, late)};
}

Failure StragglerMonitor::late_collective(const std::vector<RankRecord>& ranks, uint64_t sequence,
                                          const std::string& name, bool end) const {
  std::vector<int64_t> waiting;
  std::vector<int64_t> late;
  for (size_t i = 0; i < ranks.size(); ++i) {
    const RemoteStatus& status = ranks[i].status;
    if (status.sequence < sequence) {
      late.push_back(static_cast<int64_t>(i));
    } else if (status.waiting && status.sequence == sequence) {
      waiting.push_back(static_cast<int64_t>(i));
    }
  }
  const std::string place = detail::collective_text(name, sequence);
  const std::string text = waiting_text(waiting, place, end);
  if (late.empty()) return {FailureKind::kLate, -1, text + ", although every rank has entered it"};
  return {FailureKind::kLate, late.front(), text + late_text(ranks, late)};
}

}  // namespace lightning::detail
