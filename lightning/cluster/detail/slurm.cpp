#include <limits>
#include <numeric>

#include <lightning/cluster/detail/environments.h>
#include <lightning/cluster/detail/node_list.h>
#include <lightning/cluster/detail/variables.h>
#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

// Ids from here on are SLURM's own steps: batch, extern, interactive.
constexpr int64_t kFirstSpecialStep = 0xffff'fff0;

constexpr std::string_view kStartHint =
    "start the program with srun inside a job, or choose a different trainer.cluster";

std::string sbatch_lines(int64_t nodes, int64_t tasks) {
  return concat("use '#SBATCH --nodes=", nodes, "' and '#SBATCH --ntasks-per-node=", tasks,
                "', and start the program with srun");
}

bool is_shell_name(const Variables& values) {
  const std::string name = values.first_of({"SLURM_JOB_NAME"});
  return name == "bash" || name == "interactive";
}

bool has_ordinary_step(const Variables& values) {
  const auto step = values.first_number({"SLURM_STEP_ID", "SLURM_STEPID"});
  return step && *step < kFirstSpecialStep;
}

int64_t number_of_tasks(const Variables& values) {
  return values.first_number({"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"}).value_or(1);
}

/// A shell that srun --pty opened has the variables of a task. Programs that srun starts from such
/// a shell inherit the job's name and the terminal, but belong to a later step or have company.
bool is_shell_of_step(const Variables& values) {
  const std::string name = values.first_of({"SLURM_JOB_NAME"});
  if (number_of_tasks(values) == 1) return is_shell_name(values);
  return name == "bash" && values.has("SLURM_PTY_PORT") &&
         values.first_number({"SLURM_STEP_ID", "SLURM_STEPID"}) == 0;
}

/// Tasks on each node of the step. Throws when they don't add up to the other numbers.
std::vector<int64_t> tasks_on_nodes(const Topology& topology, const Variables& values) {
  const std::string text = values.first_of({"SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"});
  std::vector<int64_t> tasks;
  if (!text.empty()) {
    tasks = parse_tasks_per_node(text);
  } else if (topology.num_nodes == 1) {
    tasks = {topology.world_size};
  }
  const int64_t sum = std::accumulate(tasks.begin(), tasks.end(), int64_t{0});
  LIGHTNING_CHECK(sum == topology.world_size &&
                      tasks.size() == static_cast<size_t>(topology.num_nodes) &&
                      topology.node_rank < topology.num_nodes,
                  ConfigError, "slurm: SLURM_STEP_TASKS_PER_NODE is '", text, "' for ",
                  topology.world_size, " tasks on ", topology.num_nodes, " nodes (node ",
                  topology.node_rank, "), expected numbers that agree. HINT: ",
                  "look for a line of your script that sets SLURM_ variables");
  return tasks;
}

std::string host_of_rank_0(const Topology& topology, const Variables& values) {
  if (topology.single_node()) return "127.0.0.1";
  const std::string list =
      values.first_of({"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"});
  LIGHTNING_CHECK(!list.empty(), ConfigError,
                  "slurm: SLURM_STEP_NODELIST is not in the environment, expected the hosts of the "
                  "step. HINT: ",
                  kStartHint);
  return expand_node_list(list).front();
}

}  // namespace

SlurmContext slurm_place(const EnvironmentVariables& variables) {
  const Variables values(variables, "slurm");
  if (values.first_of({"SLURM_JOB_ID", "SLURM_JOBID"}).empty()) return SlurmContext::kNone;
  if (has_ordinary_step(values) && values.has("SLURM_PROCID")) {
    return is_shell_of_step(values) ? SlurmContext::kShell : SlurmContext::kTask;
  }
  // salloc gives its shell no SLURM_PROCID.
  if (!values.has("SLURM_PROCID") || is_shell_name(values)) return SlurmContext::kShell;
  const int64_t nodes = values.first_number({"SLURM_JOB_NUM_NODES", "SLURM_NNODES"}).value_or(1);
  return nodes > 1 || number_of_tasks(values) > 1 ? SlurmContext::kBatchScript
                                                  : SlurmContext::kSingleTask;
}

void refuse_batch_script(const EnvironmentVariables& variables, const TopologyRequest& request) {
  const Variables values(variables, "slurm");
  const int64_t nodes = values.first_number({"SLURM_JOB_NUM_NODES", "SLURM_NNODES"}).value_or(1);
  const int64_t tasks = values.first_number({"SLURM_NTASKS", "SLURM_NPROCS"})
                            .value_or(nodes * request.devices.value_or(1));
  throw ConfigError(concat("slurm: this program runs in the batch script of job ",
                           values.first_of({"SLURM_JOB_ID", "SLURM_JOBID"}), " (", nodes,
                           nodes == 1 ? " node, " : " nodes, ", tasks,
                           tasks == 1 ? " task" : " tasks",
                           ") and SLURM_STEP_ID is not set, expected to be started once for each "
                           "task. HINT: write srun before the program's name in the script (or set "
                           "trainer.cluster: local for one process)"));
}

Topology slurm_topology(const EnvironmentVariables& variables, const TopologyRequest& request) {
  const Variables values(variables, "slurm");
  const SlurmContext place = slurm_place(variables);
  if (place == SlurmContext::kBatchScript || place == SlurmContext::kSingleTask) {
    refuse_batch_script(variables, request);
  }
  values.require({"SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID",
                  "SLURM_NTASKS"},
                 kStartHint);
  Topology topology;
  topology.cluster = "slurm";
  topology.world_size = number_of_tasks(values);
  topology.global_rank = *values.number("SLURM_PROCID");
  topology.local_rank = *values.number("SLURM_LOCALID");
  topology.node_rank = *values.number("SLURM_NODEID");
  topology.num_nodes =
      values.first_number({"SLURM_STEP_NUM_NODES", "SLURM_NNODES", "SLURM_JOB_NUM_NODES"})
          .value_or(1);
  topology.reason = concat("srun started this task: SLURM_PROCID=", topology.global_rank,
                           ", SLURM_NTASKS=", topology.world_size);
  const auto tasks = tasks_on_nodes(topology, values);
  topology.local_world_size = tasks[static_cast<size_t>(topology.node_rank)];
  check_topology(topology, request, tasks, values, sbatch_lines);
  topology.device_index = choose_device(topology, request);

  topology.run_id = concat(*values.find("SLURM_JOB_ID"), ".", *values.find("SLURM_STEP_ID"), ".",
                           values.number("SLURM_RESTART_COUNT").value_or(0));
  if (topology.world_size == 1) return topology;
  topology.main_host = host_of_rank_0(topology, values);
  topology.main_ports = ports_of(topology.run_id);
  return topology;
}

}  // namespace lightning::detail
