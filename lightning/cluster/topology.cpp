#include <lightning/cluster/topology.h>

#include <unistd.h>

#include <lightning/cluster/cluster_environment.h>
#include <lightning/cluster/detail/environments.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

void check_request(const TopologyRequest& request) {
  LIGHTNING_CHECK(!request.devices || *request.devices >= 1, ConfigError,
                  "Trainer: trainer.devices is ", request.devices.value_or(0),
                  ", expected at least 1. HINT: omit it for one process, or for as many as the "
                  "cluster starts");
  LIGHTNING_CHECK(!request.num_nodes || *request.num_nodes >= 1, ConfigError,
                  "Trainer: trainer.num_nodes is ", request.num_nodes.value_or(0),
                  ", expected at least 1. HINT: omit it for as many as the cluster gives");
}

/// RANK and WORLD_SIZE without the rest: most likely a run that would train WORLD_SIZE times alone.
void refuse_half_torchrun(const EnvironmentVariables& variables) {
  const auto rank = variables.find("RANK");
  const auto size = variables.find("WORLD_SIZE");
  const bool half = rank != variables.end() && size != variables.end() && size->second != "1";
  LIGHTNING_CHECK(
      !half, ConfigError, "torchrun: RANK=", rank->second, " and WORLD_SIZE=", size->second,
      " are set but not all of LOCAL_RANK, MASTER_ADDR and MASTER_PORT, expected all of "
      "them or none. HINT: set them too, or trainer.cluster: local for one process");
}

/// The ranks and sizes that an environment of a program's own gives.
void check_topology(const Topology& t) {
  LIGHTNING_CHECK(
      t.world_size >= 1 && t.global_rank >= 0 && t.global_rank < t.world_size &&
          t.local_world_size >= 1 && t.local_rank >= 0 && t.local_rank < t.local_world_size &&
          t.num_nodes >= 1 && t.node_rank >= 0 && t.node_rank < t.num_nodes,
      ConfigError, "cluster ", t.cluster, ": rank ", t.global_rank, " of ", t.world_size,
      ", local rank ", t.local_rank, " of ", t.local_world_size, ", node ", t.node_rank, " of ",
      t.num_nodes, ", expected each from 0 to below its number. HINT: correct its topology().");
  const bool found = t.needs_launch || t.agent_store || !t.rendezvous_file.empty() ||
                     (!t.main_host.empty() && !t.main_ports.empty());
  LIGHTNING_CHECK(t.world_size == 1 || found, ConfigError, "cluster ", t.cluster, ": there are ",
                  t.world_size,
                  " ranks and no address of rank 0, expected main_host and "
                  "main_ports, or rendezvous_file. HINT: set them in its topology().");
}

/// `reason`: why this environment was taken, where it gives none itself.
Topology topology_of(const ClusterEnvironment& environment, const EnvironmentVariables& variables,
                     const TopologyRequest& request, std::string_view reason) {
  Topology topology = environment.topology(variables, request);
  // A rank that rank 0 has started: what rank 0 set holds, and it starts no others.
  if (topology.needs_launch && detail::is_launched_rank(variables)) {
    topology = detail::local_topology(variables, request);
  }
  topology.cluster = environment.name();
  if (topology.reason.empty()) topology.reason = reason;
  if (!detail::is_builtin_cluster(topology.cluster)) check_topology(topology);
  return topology;
}

Topology local_topology(const EnvironmentVariables& variables, const TopologyRequest& request,
                        detail::SlurmContext place) {
  refuse_half_torchrun(variables);
  Topology topology = detail::local_topology(variables, request);
  if (place == detail::SlurmContext::kShell) {
    topology.reason =
        "this is an interactive shell of a SLURM job, and srun didn't start the program";
  } else if (place == detail::SlurmContext::kSingleTask) {
    topology.reason = "this is the batch script of a SLURM job with one task";
  } else {
    topology.reason = "no launcher's variables are set";
  }
  return topology;
}

Topology automatic_topology(const EnvironmentVariables& variables, const TopologyRequest& request) {
  if (detail::is_torchrun_worker(variables)) return detail::torchrun_topology(variables, request);
  if (detail::is_launched_rank(variables)) return detail::local_topology(variables, request);
  // jsrun's tasks have variables of Open MPI too, and mpirun's ranks those of srun.
  if (detail::is_lsf_task(variables)) return detail::lsf_topology(variables, request);
  if (detail::is_mpi_rank(variables)) return detail::mpi_topology(variables, request);
  const detail::SlurmContext place = detail::slurm_place(variables);
  if (place == detail::SlurmContext::kTask) return detail::slurm_topology(variables, request);
  if (place == detail::SlurmContext::kBatchScript) detail::refuse_batch_script(variables, request);
  return local_topology(variables, request, place);
}

}  // namespace

EnvironmentVariables current_environment() {
  EnvironmentVariables variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  variables.emplace("LIGHTNING_PARENT_PID", std::to_string(getppid()));
  return variables;
}

Topology detect_topology(const EnvironmentVariables& variables, const TopologyRequest& request) {
  check_request(request);
  if (request.environment != nullptr) {
    return topology_of(*request.environment, variables, request, "the program chose it");
  }
  const config::Registry<ClusterEnvironment>& registry = cluster_registry();
  if (!request.cluster.empty() && request.cluster.class_path() != "auto") {
    const auto environment = registry.create(request.cluster.node(), "trainer.cluster");
    return topology_of(*environment, variables, request, "trainer.cluster names it");
  }
  for (const auto& entry : registry.entries()) {
    if (detail::is_builtin_cluster(entry.name)) continue;
    const auto own = registry.create(config::ConfigNode::scalar(entry.name), "trainer.cluster");
    if (own->detect(variables)) {
      return topology_of(*own, variables, request, "it recognized its variables");
    }
  }
  return automatic_topology(variables, request);
}

std::string describe(const Topology& topology) {
  return detail::concat("cluster: ", topology.cluster, " (", topology.reason, "), rank ",
                        topology.global_rank, " of ", topology.world_size, " on node ",
                        topology.node_rank, " of ", topology.num_nodes);
}

}  // namespace lightning
