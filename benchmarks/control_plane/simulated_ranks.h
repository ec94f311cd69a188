/// All ranks of a run but rank 0, played by one process and one thread: each is no more than its
/// connection to the hub. They follow one script of exchanges, answer when a stop is agreed on,
/// send heartbeats, and at last the first of them drops dead.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>

#include <lightning/cluster/topology.h>

namespace benchmark_control_plane {

/// Shared with that process.
struct Shared {
  std::atomic<bool> die = false;
  std::atomic<int64_t> died_at = 0;      // nanoseconds of the steady clock
  std::atomic<int64_t> all_know_at = 0;  // the last one's news of the death
};

int64_t nanoseconds();

/// Each round is an all_gather "round" and a clear_stop. Returns the process's id.
pid_t start_simulated_ranks(const lightning::Topology& topology, int64_t rounds, Shared& shared);

}  // namespace benchmark_control_plane
