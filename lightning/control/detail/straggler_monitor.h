/// StragglerMonitor: notices that ranks wait for others that don't come, in an exchange or a
/// collective, or that are in a different one, while all of them are alive.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <lightning/control/detail/exchange_table.h>
#include <lightning/control/detail/message.h>
#include <lightning/util/detail/socket.h>

namespace lightning::detail {

struct LateFinding {
  bool end = false;  // else a warning
  Failure failure;
};

class LIGHTNING_API StragglerMonitor {
 public:
  StragglerMonitor(int64_t world_size, std::chrono::milliseconds warning,
                   std::chrono::milliseconds end);

  /// To be called often. All waiting starts anew while a rank is in a long phase.
  std::optional<LateFinding> check(const std::vector<RankRecord>& ranks,
                                   const ExchangeTable& exchange, Deadline now);
  /// Time in which no rank could run doesn't count.
  void add_pause(Deadline::duration pause);

 private:
  struct Wait {
    bool active = false;
    uint64_t sequence = 0;
    Deadline since;
    bool warned = false;
  };

  /// Ranks that wait for one another in different collectives.
  std::optional<LateFinding> differing(const std::vector<RankRecord>& ranks, Deadline now) const;
  static void follow(Wait& wait, bool active, uint64_t sequence, Deadline now);
  /// What there is to report, if anything, and which of the two it is.
  std::optional<bool> due(Wait& wait, Deadline now) const;
  Failure late_exchange(const std::vector<RankRecord>& ranks, const ExchangeTable& exchange,
                        bool end) const;
  Failure late_collective(const std::vector<RankRecord>& ranks, uint64_t sequence,
                          const std::string& name, bool end) const;
  std::string waiting_text(const std::vector<int64_t>& waiting, const std::string& place,
                           bool end) const;

  std::chrono::milliseconds warning_;
  std::chrono::milliseconds end_;
  Wait exchange_wait_;
  std::vector<Wait> collective_waits_;  // by rank
};

}  // namespace lightning::detail
