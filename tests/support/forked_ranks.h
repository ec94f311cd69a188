/// Ranks as forked processes that join a World over loopback. To be used before the test has
/// threads.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include <lightning/distributed/world.h>

#include "support/temporary_folder.h"

namespace lightning_tests {

/// Exit code of a process whose body threw.
inline constexpr int kWrong = 99;

/// Runs `body` in a separate process, which exits with what it returns.
inline pid_t fork_process(const std::function<int()>& body) {
  constexpr unsigned kDeadlineSeconds = 100;
  std::cout.flush();
  const pid_t process = ::fork();
  if (process != 0) return process;
  ::alarm(kDeadlineSeconds);
  int code = kWrong;
  try {
    code = body();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "process %d: %s\n", ::getpid(), error.what());
  }
  // Without the parent's test report, but with the handlers of the world.
  std::exit(code);
}

inline int wait_status(pid_t process) {
  int status = 0;
  ::waitpid(process, &status, 0);
  return status;
}

/// -n for signal n.
inline int exit_code(pid_t process) {
  const int status = wait_status(process);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

inline lightning::Topology topology_of(int64_t rank, int64_t size,
                                       const std::filesystem::path& folder) {
  lightning::Topology topology;
  topology.global_rank = topology.local_rank = rank;
  topology.world_size = topology.local_world_size = size;
  topology.run_id = "test";
  topology.rendezvous_file = (folder / "rendezvous").string();
  return topology;
}

/// Exit codes of `size` ranks that join a world and run `body`.
inline std::vector<int> run_world(int64_t size, const std::function<int(lightning::World&)>& body,
                                  const lightning::WorldOptions& options = {}) {
  const TemporaryFolder folder;
  std::vector<pid_t> ranks;
  for (int64_t rank = 0; rank < size; ++rank) {
    ranks.push_back(fork_process([&, rank] {
      return body(*lightning::World::join(topology_of(rank, size, folder.path()), options));
    }));
  }
  std::vector<int> codes;
  for (const pid_t rank : ranks) codes.push_back(exit_code(rank));
  return codes;
}

/// For use in a body, where there is no test report.
inline void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("expected: " + what);
}

}  // namespace lightning_tests
