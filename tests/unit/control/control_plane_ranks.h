/// Ranks of a control plane in one test: as threads, and as processes that can be killed.
#pragma once

#include <signal.h>

#include <sys/types.h>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <lightning/cluster/topology.h>
#include <lightning/control/control_plane.h>
#include <lightning/util/detail/socket.h>

namespace lightning_tests {

/// Guards against hangs; nothing is measured with it.
constexpr std::chrono::seconds kGuard{60};

lightning::Deadline guard();

/// For ranks, where Catch's macros can't be used. Throws.
void expect(bool condition);

/// A run of several ranks on this machine whose hub listens on a port of the kernel's choice.
struct TestRun {
  explicit TestRun(int64_t world_size, lightning::ControlPlaneOptions options = {});

  lightning::Topology topology(int64_t rank) const;
  /// Rank 0 takes the listener: once.
  std::shared_ptr<lightning::ControlPlane> connect(int64_t rank);

  int64_t world_size;
  lightning::ControlPlaneOptions options;
  lightning::Socket listener;
  std::string run_id = "7.0.0";
  std::vector<uint16_t> ports;  // the listener's
};

/// What a rank came to: its body's result, or the text of its exception.
struct Outcome {
  std::string result;
  std::string error;
};

using RankBody = std::function<std::string(lightning::ControlPlane& plane)>;

/// Runs `body` on a thread for each rank, after connect() and before the plane's destructor.
std::vector<Outcome> run_threads(TestRun& run, const RankBody& body);

/// All ranks of a run, as threads, find one another and leave in order.
void check_all_meet(TestRun& run);

/// A rank in a process of its own (made by fork; to be used before this process has threads).
class RankProcess {
 public:
  /// The body's result comes back; a thrown exception makes the exit status 1.
  RankProcess(TestRun& run, int64_t rank, const RankBody& body);
  /// The same, where the body connects by itself.
  RankProcess(int64_t rank, const std::function<std::string()>& body);
  ~RankProcess();
  RankProcess(const RankProcess&) = delete;
  RankProcess& operator=(const RankProcess&) = delete;

  void kill(int signal) const;
  /// Waits for a line that the body said with say(). Fails the test at the guard.
  std::string read_line();
  /// Waits for the end of the process; "exit 0", "signal 9" or "running" at the guard.
  std::string wait();
  /// All lines that are left, after wait().
  std::string rest();
  int64_t rank() const { return rank_; }

  /// Called in the body: a line for read_line().
  static void say(const std::string& line);
  /// Called in the body: where say() writes.
  static int descriptor();

 private:
  int64_t rank_;
  pid_t pid_ = -1;
  lightning::Socket pipe_;  // read end
  std::string buffer_;
};

/// All ranks of a run as processes.
std::vector<std::unique_ptr<RankProcess>> start_processes(TestRun& run, const RankBody& body);

}  // namespace lightning_tests
