/// How the control plane names ranks, places and times in its messages.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <lightning/control/detail/message.h>

namespace lightning::detail {

/// "rank 2 (node1)".
LIGHTNING_API std::string rank_text(int64_t rank, const std::string& host);
/// "rank 2", "ranks 2, 5", and with many "ranks 2, 5, ... and 90 more".
LIGHTNING_API std::string ranks_text(const std::vector<int64_t>& ranks);
/// "all_reduce #123".
LIGHTNING_API std::string collective_text(const std::string& name, uint64_t sequence);
/// "step 17 in training_step, last collective all_reduce #123".
LIGHTNING_API std::string place_text(const RemoteStatus& status);
/// "rank 2 (node1) failed at step 17 in training_step, last collective all_reduce #123: TEXT".
LIGHTNING_API std::string failed_text(int64_t rank, const RankRecord& record,
                                      const std::string& text);
/// "rank 2 (node1) exited (its connection closed), last seen at step 17 in ...".
LIGHTNING_API std::string exited_text(int64_t rank, const RankRecord& record);
LIGHTNING_API std::string unresponsive_text(int64_t rank, const RankRecord& record,
                                            std::chrono::milliseconds silence);
/// "30 s", "0.5 s".
LIGHTNING_API std::string seconds_text(std::chrono::milliseconds time);

}  // namespace lightning::detail
