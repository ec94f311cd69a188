#include <lightning/launch/launcher.h>

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <lightning/launch/child_process.h>
#include <lightning/launch/child_ranks.h>
#include <lightning/launch/launch_ranks.h>
#include <lightning/util/error.h>
#include <lightning/util/exit_codes.h>

namespace lightning {
namespace {

constexpr char kLoopback[] = "127.0.0.1";

/// The one launch of this program. Never destroyed: its thread outlives static objects.
struct Launch {
  std::mutex mutex;
  pid_t owner = -1;  // copies of this process made by fork() have no ranks of their own
  Topology topology;
  detail::ChildRanks* processes = nullptr;
};

Launch& launch() {
  static auto* instance = new Launch;
  return *instance;
}

std::string new_run_id() {
  std::random_device source;
  return detail::concat("local.", ::getpid(), ".", source());
}

/// An ignored SIGCHLD would hide how the processes end.
void keep_exit_codes() {
  struct sigaction action = {};
  ::sigaction(SIGCHLD, nullptr, &action);
  const bool ignored = (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_IGN;
  if (!ignored && (action.sa_flags & SA_NOCLDWAIT) == 0) return;
  if (ignored) action.sa_handler = SIG_DFL;
  action.sa_flags &= ~SA_NOCLDWAIT;
  ::sigaction(SIGCHLD, &action, nullptr);
}

std::vector<detail::Command> commands_of(const Topology& topology) {
  detail::Command command = detail::own_command();
  command.set_variable("LIGHTNING_WORLD_SIZE", std::to_string(topology.world_size));
  command.set_variable("LIGHTNING_MAIN_PORT", std::to_string(topology.main_ports.front()));
  command.set_variable("LIGHTNING_RUN_ID", topology.run_id);
  std::vector<detail::Command> commands;
  for (int64_t rank = 1; rank < topology.world_size; ++rank) {
    command.set_variable("LIGHTNING_RANK", std::to_string(rank));
    commands.push_back(command);
  }
  return commands;
}

detail::ChildRanks* own_processes() {
  Launch& here = launch();
  const std::lock_guard lock(here.mutex);
  return here.owner == ::getpid() ? here.processes : nullptr;
}

void check(const Topology& topology) {
  LIGHTNING_CHECK(topology.world_size > 1 && topology.single_node() && topology.global_rank == 0,
                  ConfigError, "launcher: rank ", topology.global_rank, " of ", topology.world_size,
                  " on ", topology.num_nodes, " node(s), expected rank 0 of several on one node");
}

}  // namespace

LaunchedRanks launch_ranks(const Topology& topology, const LaunchOptions& options) {
  check(topology);
  Launch& here = launch();
  const std::lock_guard lock(here.mutex);
  if (here.processes != nullptr) {
    LIGHTNING_CHECK(topology.world_size == here.topology.world_size, ConfigError,
                    "launcher: this program runs with ", here.topology.world_size,
                    " ranks, a later Trainer asks for ", topology.world_size,
                    ". HINT: give all Trainers of a program the same number of devices");
    return {.topology = here.topology, .listener = Socket()};
  }
  LaunchedRanks result = {.topology = topology, .listener = Socket::listen(kLoopback, {0})};
  result.topology.main_host = kLoopback;
  result.topology.main_ports = {result.listener.local_port()};
  if (result.topology.run_id.empty()) result.topology.run_id = new_run_id();
  result.topology.needs_launch = false;

  keep_exit_codes();
  auto processes =
      std::make_unique<detail::ChildRanks>(commands_of(result.topology), options.grace);
  processes->start();
  here.processes = processes.release();
  here.owner = ::getpid();
  here.topology = result.topology;
  std::atexit([] { finish_launched_ranks(0); });
  return result;
}

std::string launched_rank_exit(int64_t rank) {
  detail::ChildRanks* processes = own_processes();
  return processes == nullptr ? "" : processes->end_of(rank);
}

int finish_launched_ranks(int own_code) {
  if (is_launched_rank() && own_code == kPeerFailureExitCode) kill_stopped_launcher();
  detail::ChildRanks* processes = own_processes();
  return processes == nullptr ? own_code : processes->finish(own_code);
}

}  // namespace lightning
