/// Topology: which processes make up a run, which of them this one is, and where rank 0 is found.
/// A pure function of environment variables and options, so that every cluster is a row of a table
/// in the tests.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/config/class_spec.h>
#include <lightning/util/export.h>

namespace lightning {

class ClusterEnvironment;

using EnvironmentVariables = std::map<std::string, std::string, std::less<>>;

/// The variables of this process; and LIGHTNING_PARENT_PID, the id of its parent, unless it is set
/// (all that ranks of MPICH's mpiexec on one machine have in common).
LIGHTNING_API EnvironmentVariables current_environment();

/// What the user requested.
struct TopologyRequest {
  /// auto or a class of cluster_registry(): slurm, torchrun, mpi, lsf, local, a program's own.
  config::ClassSpec cluster = "auto";
  /// Goes before `cluster`; may be null.
  std::shared_ptr<const ClusterEnvironment> environment = nullptr;
  /// Processes per node; none: as many as the cluster started, one when nothing started any.
  std::optional<int64_t> devices = std::nullopt;
  /// None: as many as the cluster gave.
  std::optional<int64_t> num_nodes = std::nullopt;
  /// GPUs that this process sees, when the run uses GPUs; 0 on the CPU.
  int64_t visible_gpus = 0;
};

struct Topology {
  /// Name of the ClusterEnvironment.
  std::string cluster = "local";
  /// Why it was chosen, for the line at start: "SLURM_NTASKS is set and srun started this task".
  std::string reason;
  int64_t world_size = 1;
  int64_t global_rank = 0;
  int64_t local_rank = 0;
  int64_t local_world_size = 1;
  int64_t node_rank = 0;
  int64_t num_nodes = 1;
  /// Index of this process's GPU among those it sees (0 where each task sees only its own).
  int64_t device_index = 0;
  /// Where rank 0 listens: a host name or address, empty with one process, before launch_ranks(),
  /// and where `rendezvous_file` names it.
  std::string main_host;
  /// Ports that rank 0 tries, in this order; clients try them in the same order.
  std::vector<uint16_t> main_ports;
  /// Identifies this attempt of the run: the same in all its processes, different after a restart
  /// ("job.step.restart" under SLURM). Clients skip listeners with a different id.
  std::string run_id;
  /// MASTER_ADDR:MASTER_PORT is a TCPStore of torchrun's agent: no rank may bind that port, rank 0
  /// publishes its own address there.
  bool agent_store = false;
  /// Shared file through which rank 0 publishes its address (MPI without MASTER_ADDR); else empty.
  std::string rendezvous_file;
  /// Local cluster with several processes, none of which is running yet but this one.
  bool needs_launch = false;

  bool single_node() const { return num_nodes == 1; }
};

/// Reads the topology. `auto` takes the first that fits: the program's own environments in the
/// order of their registration, torchrun, a child of our own launcher, LSF, MPI (unless srun agrees
/// with it), SLURM, else local (docs/distributed.md has the table).
/// Throws ConfigError for variables that contradict one another or the request (number of tasks,
/// nodes, devices, visible GPUs), with the sbatch line that would be right; and for a program
/// started in a SLURM batch script without srun.
LIGHTNING_API Topology detect_topology(const EnvironmentVariables& variables,
                                       const TopologyRequest& request);

/// "cluster: slurm (reason), rank 3 of 4 on node 1 of 2".
LIGHTNING_API std::string describe(const Topology& topology);

}  // namespace lightning
