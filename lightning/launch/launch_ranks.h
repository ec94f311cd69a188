/// launch_ranks(): starts the other processes of this machine, once per program.
#pragma once

#include <chrono>

#include <lightning/cluster/topology.h>
#include <lightning/util/detail/socket.h>
#include <lightning/util/export.h>

namespace lightning {

struct LaunchOptions {
  /// Grace period for the other ranks after rank 0 exits, before they are terminated.
  std::chrono::milliseconds grace{10'000};
};

struct LaunchedRanks {
  Topology topology;  // of this process, rank 0; main_host and main_ports are known
  Socket listener;    // bound to that port, for the control plane; only the first call gives it
};

/// Starts `topology.world_size - 1` processes; `topology` is what detect_topology() gave with
/// needs_launch. They find themselves by the variables LIGHTNING_RANK, LIGHTNING_WORLD_SIZE,
/// LIGHTNING_MAIN_PORT and LIGHTNING_RUN_ID (detect_topology() reads them), and start main() anew.
/// Their output appears with a prefix "[rank 1] ", whole lines, in order of arrival; they read
/// nothing from the terminal. INT, TERM, HUP, USR1, USR2, TSTP and CONT are forwarded to them
/// before this process acts on them as it would have without. Later calls start nothing. Throws
/// ConfigError when called twice with different sizes, DistributedError when a process can't be
/// started.
LIGHTNING_API LaunchedRanks launch_ranks(const Topology& topology,
                                         const LaunchOptions& options = {});

}  // namespace lightning
