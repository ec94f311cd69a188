/// ChildRanks: the launched ranks of this program, their output and their ends.
#pragma once

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include <lightning/launch/child_process.h>
#include <lightning/launch/line_prefixer.h>
#include <lightning/launch/rank_exit.h>

namespace lightning::detail {

/// Owned by a dedicated thread (serve()) that starts the processes and lives as long as they do:
/// Linux kills them when the thread that made them ends.
class ChildRanks {
 public:
  /// `commands` of ranks 1, 2, ...
  ChildRanks(std::vector<Command> commands, std::chrono::milliseconds grace);

  /// Starts the processes from a new thread. Throws DistributedError when one can't be started;
  /// then none is left.
  void start();

  /// Waits for all to end, but no longer than the grace period: then they get SIGTERM, and after
  /// another while SIGKILL. Returns the exit code of the run.
  int finish(int own_code);

  /// How the rank ended, as launched_rank_exit() describes it.
  std::string end_of(int64_t rank);

 private:
  struct Rank {
    int64_t number = 0;
    ChildProcess process;
    LinePrefixer out;
    LinePrefixer err;
    bool ended = false;      // seen by collect_ends()
    bool announced = false;  // its output until then is written, its end is reported
  };

  void start_all(const sigset_t& mask);
  void serve();
  void read_output();
  void collect_ends();
  void announce_ends();
  bool all_announced() const;
  bool wait_until_ended(std::chrono::milliseconds time);
  void signal_remaining(int signal);

  std::vector<Command> commands_;
  std::chrono::milliseconds grace_;
  std::vector<Rank> ranks_;  // the serving thread's; others read number and pid
  std::mutex mutex_;         // guards the rest and the flags of ranks_
  std::condition_variable changed_;
  std::vector<RankExit> ends_;  // in order of time
  bool ended_by_launcher_ = false;
};

}  // namespace lightning::detail
