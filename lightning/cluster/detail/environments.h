/// The clusters that detect_topology() knows. Each reads the variables that its tasks get and
/// throws ConfigError when they are incomplete or contradict the request.
#pragma once

#include <string>
#include <string_view>

#include <lightning/cluster/topology.h>

namespace lightning::detail {

/// Whether the library registers a ClusterEnvironment of that name.
bool is_builtin_cluster(std::string_view name);

// ---- torchrun
/// All variables of a worker are there.
bool is_torchrun_worker(const EnvironmentVariables& variables);
Topology torchrun_topology(const EnvironmentVariables& variables, const TopologyRequest& request);

// ---- processes of one machine, without a cluster
/// A process that launch_ranks() started.
bool is_launched_rank(const EnvironmentVariables& variables);
/// One of those, or a process that may have to launch others.
Topology local_topology(const EnvironmentVariables& variables, const TopologyRequest& request);

// ---- SLURM
enum class SlurmContext {
  kNone,         // not inside a job
  kTask,         // a task that srun started
  kShell,        // an interactive shell: salloc, srun --pty
  kBatchScript,  // the batch script of a job with several tasks
  kSingleTask,   // the batch script of a job with one task
};
SlurmContext slurm_place(const EnvironmentVariables& variables);
Topology slurm_topology(const EnvironmentVariables& variables, const TopologyRequest& request);
/// The error for a program that runs in a batch script.
[[noreturn]] void refuse_batch_script(const EnvironmentVariables& variables,
                                      const TopologyRequest& request);

// ---- MPI
/// Rank and size of an MPI launcher are there, and srun (whose tasks may have them too) says
/// something else or nothing: mpirun starts its daemons with srun, so ranks inherit SLURM's
/// variables from those.
bool is_mpi_rank(const EnvironmentVariables& variables);
Topology mpi_topology(const EnvironmentVariables& variables, const TopologyRequest& request);

// ---- LSF
/// jsrun started this task inside an LSF job.
bool is_lsf_task(const EnvironmentVariables& variables);
Topology lsf_topology(const EnvironmentVariables& variables, const TopologyRequest& request);

}  // namespace lightning::detail
