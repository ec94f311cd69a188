#include <lightning/cluster/topology.h>

#include <unistd.h>

#include <lightning/cluster/detail/environments.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

void check_request(const TopologyRequest& request) {
  LIGHTNING_CHECK(
      !request.devices || *request.devices >= 1, ConfigError, "Trainer: trainer.devices is ",
      request.devices.value_or(0),
      ", expected at least 1. HINT: leave it out for one process, or for as many as the "
      "cluster starts");
  LIGHTNING_CHECK(!request.num_nodes || *request.num_nodes >= 1, ConfigError,
                  "Trainer: trainer.num_nodes is ", request.num_nodes.value_or(0),
                  ", expected at least 1. HINT: leave it out for as many as the cluster gives");
}

Topology named_topology(const EnvironmentVariables& variables, const TopologyRequest& request) {
  if (request.cluster == "slurm") return detail::slurm_topology(variables, request);
  if (request.cluster == "torchrun") return detail::torchrun_topology(variables, request);
  if (request.cluster == "mpi") return detail::mpi_topology(variables, request);
  if (request.cluster == "lsf") return detail::lsf_topology(variables, request);
  LIGHTNING_CHECK(request.cluster == "local", ConfigError, "Trainer: trainer.cluster is '",
                  request.cluster,
                  "', expected auto, slurm, torchrun, mpi, lsf or local. HINT: leave it out: auto "
                  "finds the one that started the program");
  return detail::local_topology(variables, request);
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
  if (request.cluster == "auto") return automatic_topology(variables, request);
  Topology topology = named_topology(variables, request);
  if (topology.reason.empty()) topology.reason = "trainer.cluster names it";
  return topology;
}

std::string describe(const Topology& topology) {
  return detail::concat("cluster: ", topology.cluster, " (", topology.reason, "), rank ",
                        topology.global_rank, " of ", topology.world_size, " on node ",
                        topology.node_rank, " of ", topology.num_nodes);
}

}  // namespace lightning
