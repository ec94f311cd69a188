#include <array>

#include <lightning/cluster/detail/environments.h>
#include <lightning/cluster/detail/node_list.h>
#include <lightning/cluster/detail/variables.h>
#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

/// The variables by which one kind of launcher gives a rank its place.
struct Dialect {
  std::string_view name;
  std::string_view rank, size, local_rank, local_size;
};

constexpr std::array kDialects{
    Dialect{"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
            "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"},
    Dialect{"MVAPICH", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK",
            "MV2_COMM_WORLD_LOCAL_SIZE"},
    Dialect{"PMI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
    Dialect{"PMI", "PMI_RANK", "PMI_SIZE", "PMI_LOCAL_RANK", "PMI_LOCAL_SIZE"},
    Dialect{"PMI", "PMIX_RANK", "PMI_SIZE", "PMI_LOCAL_RANK", "PMI_LOCAL_SIZE"},
};

std::string start_text(int64_t nodes, int64_t tasks) {
  return concat("start it with mpirun -np ", nodes * tasks, " --map-by ppr:", tasks,
                ":node (mpiexec -n ", nodes * tasks, " -ppn ", tasks, ")");
}

/// The most complete one: with local numbers before those without.
const Dialect* find_dialect(const Variables& values) {
  const Dialect* found = nullptr;
  for (const Dialect& dialect : kDialects) {
    if (!values.has_all({dialect.rank, dialect.size})) continue;
    if (values.has_all({dialect.local_rank, dialect.local_size})) return &dialect;
    if (found == nullptr) found = &dialect;
  }
  return found;
}

/// The first host of the SLURM job that mpirun runs in, where it puts rank 0.
std::string host_of_job(const Variables& values) {
  const std::string list = values.first_of({"SLURM_JOB_NODELIST", "SLURM_NODELIST"});
  return list.empty() ? list : expand_node_list(list).front();
}

void choose_address(Topology& topology, const Variables& values) {
  const std::string job =
      values.first_of({"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "PMI_JOBID", "MPIEXEC_JOBID"});
  const std::string parent = topology.single_node() && job.empty()
                                 ? values.first_of({"LIGHTNING_PARENT_PID"})
                                 : std::string();
  topology.run_id = concat("mpi.", values.first_of({"SLURM_JOB_ID"}), job, parent);
  topology.main_ports = ports_of(topology.run_id);
  if (const auto port = values.number("MASTER_PORT")) {
    LIGHTNING_CHECK(*port <= 65535, ConfigError, "mpi: MASTER_PORT is ", *port,
                    ", expected a port up to 65535. HINT: set a different one");
    topology.main_ports = {static_cast<uint16_t>(*port)};
  }
  if (topology.single_node()) {
    topology.main_host = "127.0.0.1";
    return;
  }
  topology.main_host = values.first_of({"MASTER_ADDR"});
  if (topology.main_host.empty()) {
    topology.rendezvous_file = values.first_of({"LIGHTNING_RENDEZVOUS_FILE"});
  }
  if (topology.main_host.empty() && topology.rendezvous_file.empty()) {
    topology.main_host = host_of_job(values);
  }
  LIGHTNING_CHECK(!topology.main_host.empty() || !topology.rendezvous_file.empty(), ConfigError,
                  "mpi: ", topology.num_nodes,
                  " nodes and neither MASTER_ADDR nor "
                  "LIGHTNING_RENDEZVOUS_FILE is set, expected a way to rank 0. HINT: mpirun -x "
                  "MASTER_ADDR=<host of rank 0>, or -x LIGHTNING_RENDEZVOUS_FILE=<a new file that "
                  "all nodes see>");
}

}  // namespace

bool is_mpi_rank(const EnvironmentVariables& variables) {
  const Variables values(variables, "mpi");
  const Dialect* dialect = find_dialect(values);
  if (dialect == nullptr) return false;
  // srun --mpi=pmi2 sets PMI_RANK and PMI_SIZE to the values of its own variables: then it is
  // SLURM's.
  const bool srun_agrees =
      slurm_place(variables) == SlurmContext::kTask &&
      values.number(dialect->rank) == values.number("SLURM_PROCID") &&
      values.number(dialect->size) == values.first_number({"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"});
  return !srun_agrees;
}

Topology mpi_topology(const EnvironmentVariables& variables, const TopologyRequest& request) {
  const Variables values(variables, "mpi");
  const Dialect* dialect = find_dialect(values);
  LIGHTNING_CHECK(dialect != nullptr, ConfigError,
                  "mpi: no rank and size of Open MPI, MVAPICH or PMI in the environment, expected "
                  "the variables of a started task. HINT: start the program with mpirun, or choose "
                  "a different trainer.cluster");
  Topology topology;
  topology.cluster = "mpi";
  topology.global_rank = *values.number(dialect->rank);
  topology.world_size = *values.number(dialect->size);
  topology.reason = concat(dialect->name, " set ", dialect->rank, "=", topology.global_rank, ", ",
                           dialect->size, "=", topology.world_size);
  if (topology.world_size > 1) {
    values.require(
        {dialect->local_rank, dialect->local_size},
        "set them from a script around the program, or start it with mpirun of Open MPI");
    topology.local_rank = *values.number(dialect->local_rank);
    topology.local_world_size = *values.number(dialect->local_size);
    deduce_nodes(topology, start_text);
  }
  check_topology(topology, request, {topology.local_world_size}, values, start_text);
  topology.device_index = choose_device(topology, request);
  if (topology.world_size > 1) choose_address(topology, values);
  return topology;
}

}  // namespace lightning::detail
