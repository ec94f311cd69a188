/// Launcher: starts the other processes of this machine, once per program. The parent is rank 0 and
/// runs its own program again, with the same arguments, for each other rank.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include <lightning/distributed/socket.h>
#include <lightning/distributed/topology.h>
#include <lightning/util/export.h>

namespace lightning {

struct LaunchedRanks {
  Topology topology;  // of this process, rank 0; main_host and main_ports are known
  Socket listener;    // bound to that port, for the control plane
};

/// Starts `topology.world_size - 1` processes; `topology` is what detect_topology() gave with
/// needs_launch. They find themselves by the variables LIGHTNING_RANK, LIGHTNING_WORLD_SIZE,
/// LIGHTNING_MAIN_PORT and LIGHTNING_RUN_ID (detect_topology() reads them), and start main() anew.
/// Their output appears with a prefix "[rank 1] ", whole lines, in order of arrival; their stderr
/// stays open to them for last words. Signals that this process gets (INT, TERM, USR1, USR2, HUP)
/// are forwarded. When this process dies, whatever the cause, they get SIGKILL. Throws ConfigError
/// when called twice with different sizes, DistributedError when a process can't be started.
LIGHTNING_API LaunchedRanks launch_ranks(const Topology& topology);

/// At the end of main(): waits for the processes that launch_ranks() started (ends those that
/// outlive the grace period) and returns the code to exit with: `own_code` unless a child failed
/// first; the first failure counts, not that of a rank that others' failure ended. `own_code` when
/// nothing was launched.
LIGHTNING_API int finish_launched_ranks(int own_code);

/// Threads for one rank: LIGHTNING/OMP_NUM_THREADS when set, else cpus-per-task of the cluster, else
/// the CPUs that this process may use divided by the ranks that share them; at least 1.
LIGHTNING_API int64_t threads_per_rank(const EnvironmentVariables& variables,
                                       const Topology& topology);

}  // namespace lightning
