#include <lightning/cluster/topology.h>

#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include <lightning/cluster/cluster_environment.h>
#include <lightning/util/error.h>
#include <support/temporary_folder.h>

using lightning::ConfigError;
using lightning::describe;
using lightning::detect_topology;
using lightning::EnvironmentVariables;
using lightning::Topology;
using lightning::TopologyRequest;

namespace {

/// `base` with some variables added, changed, or (empty value) removed.
EnvironmentVariables with(EnvironmentVariables base, const EnvironmentVariables& changes) {
  for (const auto& [name, value] : changes) {
    if (value.empty()) {
      base.erase(name);
    } else {
      base[name] = value;
    }
  }
  return base;
}

/// Rank 3 of `sbatch --nodes=2 --ntasks-per-node=2`, started by srun.
EnvironmentVariables slurm_task() {
  return {{"SLURM_JOB_ID", "41"},
          {"SLURM_JOB_NAME", "train"},
          {"SLURM_JOB_NODELIST", "node[1-2]"},
          {"SLURM_NNODES", "2"},
          {"SLURM_NTASKS", "4"},
          {"SLURM_NTASKS_PER_NODE", "2"},
          {"SLURM_TASKS_PER_NODE", "2(x2)"},
          {"SLURM_STEP_ID", "0"},
          {"SLURM_STEP_NODELIST", "node[1-2]"},
          {"SLURM_STEP_NUM_NODES", "2"},
          {"SLURM_STEP_NUM_TASKS", "4"},
          {"SLURM_STEP_TASKS_PER_NODE", "2(x2)"},
          {"SLURM_PROCID", "3"},
          {"SLURM_LOCALID", "1"},
          {"SLURM_NODEID", "1"}};
}

/// What the batch script itself sees: it looks like rank 0.
EnvironmentVariables slurm_batch_script() {
  return with(slurm_task(), {{"SLURM_STEP_ID", ""},
                             {"SLURM_STEP_NODELIST", ""},
                             {"SLURM_STEP_NUM_NODES", ""},
                             {"SLURM_STEP_NUM_TASKS", ""},
                             {"SLURM_STEP_TASKS_PER_NODE", ""},
                             {"SLURM_PROCID", "0"},
                             {"SLURM_LOCALID", "0"},
                             {"SLURM_NODEID", "0"}});
}

EnvironmentVariables salloc_shell() {
  return {
      {"SLURM_JOB_ID", "41"}, {"SLURM_JOB_NAME", "interactive"},   {"SLURM_NNODES", "2"},
      {"SLURM_NTASKS", "4"},  {"SLURM_JOB_NODELIST", "node[1-2]"}, {"SLURM_TASKS_PER_NODE", "3,1"}};
}

EnvironmentVariables torchrun_worker() {
  return {{"RANK", "3"},
          {"WORLD_SIZE", "4"},
          {"LOCAL_RANK", "1"},
          {"LOCAL_WORLD_SIZE", "2"},
          {"GROUP_RANK", "1"},
          {"GROUP_WORLD_SIZE", "2"},
          {"MASTER_ADDR", "host0"},
          {"MASTER_PORT", "29400"},
          {"TORCHELASTIC_RUN_ID", "none"},
          {"TORCHELASTIC_RESTART_COUNT", "1"},
          {"TORCHELASTIC_USE_AGENT_STORE", "True"}};
}

EnvironmentVariables open_mpi_rank() {
  return {{"OMPI_COMM_WORLD_RANK", "3"},       {"OMPI_COMM_WORLD_SIZE", "4"},
          {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
          {"PMIX_NAMESPACE", "175439873"},     {"PMIX_RANK", "3"}};
}

EnvironmentVariables hydra_rank() {
  return {{"PMI_RANK", "1"},        {"PMI_SIZE", "2"},        {"PMI_FD", "8"},
          {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "2"}, {"LIGHTNING_PARENT_PID", "700"}};
}

EnvironmentVariables lsf_task() {
  return {{"LSB_JOBID", "77"},
          {"LSB_MCPU_HOSTS", "batch01 1 c05n01 42 c05n02 42"},
          {"JSM_NAMESPACE_RANK", "3"},
          {"JSM_NAMESPACE_SIZE", "4"},
          {"JSM_NAMESPACE_LOCAL_RANK", "1"},
          {"JSM_NAMESPACE_LOCAL_SIZE", "2"},
          {"OMPI_COMM_WORLD_RANK", "3"},
          {"OMPI_COMM_WORLD_SIZE", "4"}};
}

EnvironmentVariables launched_rank() {
  return {{"LIGHTNING_RANK", "1"},
          {"LIGHTNING_WORLD_SIZE", "2"},
          {"LIGHTNING_MAIN_PORT", "40001"},
          {"LIGHTNING_RUN_ID", "abc"}};
}

/// "cluster rank/world local_rank/local_world node/nodes host"
std::string place(const Topology& t) {
  return lightning::detail::concat(t.cluster, " ", t.global_rank, "/", t.world_size, " ",
                                   t.local_rank, "/", t.local_world_size, " ", t.node_rank, "/",
                                   t.num_nodes, " ", t.main_host);
}

void expect_place(const char* name, const EnvironmentVariables& variables,
                  const TopologyRequest& request, const std::string& expected) {
  INFO(name);
  const Topology topology = detect_topology(variables, request);
  CHECK(place(topology) == expected);
  CHECK_FALSE(topology.reason.empty());
  CHECK(topology.needs_launch == (topology.world_size > 1 && topology.main_host.empty()));
}

/// The message holds all of `parts`.
void expect_error(const char* name, const EnvironmentVariables& variables,
                  const TopologyRequest& request, const std::vector<std::string>& parts) {
  INFO(name);
  CHECK_THROWS_AS(detect_topology(variables, request), ConfigError);
  for (const std::string& part : parts) {
    CHECK_THROWS_WITH(detect_topology(variables, request),
                      Catch::Contains(part) && Catch::Contains("HINT: "));
  }
}

}  // namespace

TEST_CASE("detect_topology finds each cluster and the place of this process in it") {
  expect_place("nothing", {}, {}, "local 0/1 0/1 0/1 ");
  expect_place("launch", {}, {.devices = 4}, "local 0/4 0/4 0/1 ");
  expect_place("launched", launched_rank(), {.devices = 2}, "local 1/2 1/2 0/1 127.0.0.1");
  expect_place("launched by a task of SLURM", with(slurm_task(), launched_rank()), {.devices = 2},
               "local 1/2 1/2 0/1 127.0.0.1");
  expect_place("torchrun", torchrun_worker(), {}, "torchrun 3/4 1/2 1/2 host0");
  expect_place("torchrun in a SLURM job", with(slurm_batch_script(), torchrun_worker()),
               {.devices = 2, .num_nodes = 2}, "torchrun 3/4 1/2 1/2 host0");
  expect_place("torchrun under srun", with(slurm_task(), torchrun_worker()), {},
               "torchrun 3/4 1/2 1/2 host0");
  expect_place("torchrun's variables by hand",
               {{"RANK", "2"},
                {"WORLD_SIZE", "4"},
                {"LOCAL_RANK", "0"},
                {"MASTER_ADDR", "h"},
                {"MASTER_PORT", "29500"}},
               {.devices = 2}, "torchrun 2/4 0/2 1/2 h");
  expect_place("SLURM", slurm_task(), {}, "slurm 3/4 1/2 1/2 node1");
  expect_place("SLURM as asked for", slurm_task(),
               {.cluster = "slurm", .devices = 2, .num_nodes = 2}, "slurm 3/4 1/2 1/2 node1");
  expect_place("SLURM, uneven",
               with(slurm_task(), {{"SLURM_NTASKS_PER_NODE", ""},
                                   {"SLURM_STEP_TASKS_PER_NODE", "3,1"},
                                   {"SLURM_LOCALID", "0"}}),
               {.num_nodes = 2}, "slurm 3/4 0/1 1/2 node1");
  expect_place("SLURM, one node",
               with(slurm_task(), {{"SLURM_NODEID", "0"},
                                   {"SLURM_LOCALID", "3"},
                                   {"SLURM_STEP_NUM_NODES", "1"},
                                   {"SLURM_STEP_NODELIST", "node2"},
                                   {"SLURM_STEP_TASKS_PER_NODE", "4"}}),
               {}, "slurm 3/4 3/4 0/1 127.0.0.1");
  expect_place("SLURM, a step on some nodes of the job",
               with(slurm_task(), {{"SLURM_JOB_NODELIST", "gpu-[01-12]"},
                                   {"SLURM_NNODES", "12"},
                                   {"SLURM_STEP_NODELIST", "gpu-[07,09]"}}),
               {}, "slurm 3/4 1/2 1/2 gpu-07");
  expect_place("SLURM before 20",
               with(slurm_task(), {{"SLURM_STEP_NUM_TASKS", ""},
                                   {"SLURM_STEP_NUM_NODES", ""},
                                   {"SLURM_STEP_NODELIST", ""},
                                   {"SLURM_STEP_TASKS_PER_NODE", ""}}),
               {}, "slurm 3/4 1/2 1/2 node1");
  expect_place("SLURM, one task",
               with(slurm_task(), {{"SLURM_STEP_NUM_TASKS", "1"},
                                   {"SLURM_NTASKS", "1"},
                                   {"SLURM_STEP_NUM_NODES", "1"},
                                   {"SLURM_STEP_TASKS_PER_NODE", "1"},
                                   {"SLURM_PROCID", "0"},
                                   {"SLURM_LOCALID", "0"},
                                   {"SLURM_NODEID", "0"}}),
               {}, "slurm 0/1 0/1 0/1 ");
  expect_place("srun --mpi=pmi2", with(slurm_task(), {{"PMI_RANK", "3"}, {"PMI_SIZE", "4"}}), {},
               "slurm 3/4 1/2 1/2 node1");
  expect_place("a program that srun starts in the shell of salloc",
               with(slurm_task(), {{"SLURM_JOB_NAME", "interactive"}, {"SLURM_PTY_PORT", "1"}}), {},
               "slurm 3/4 1/2 1/2 node1");
  expect_place("srun bash -c", with(slurm_task(), {{"SLURM_JOB_NAME", "bash"}}), {},
               "slurm 3/4 1/2 1/2 node1");
  expect_place("the shell of salloc", salloc_shell(), {.devices = 3}, "local 0/3 0/3 0/1 ");
  expect_place("the shell of salloc as a step of its own",
               with(salloc_shell(), {{"SLURM_STEP_ID", "4294967290"}, {"SLURM_PROCID", "0"}}), {},
               "local 0/1 0/1 0/1 ");
  expect_place("srun --pty bash",
               with(slurm_task(), {{"SLURM_JOB_NAME", "bash"}, {"SLURM_PTY_PORT", "34909"}}), {},
               "local 0/1 0/1 0/1 ");
  expect_place(
      "srun --pty bash with one task",
      with(slurm_task(), {{"SLURM_JOB_NAME", "interactive"}, {"SLURM_STEP_NUM_TASKS", "1"}}), {},
      "local 0/1 0/1 0/1 ");
  expect_place("a batch script with one task",
               with(slurm_batch_script(), {{"SLURM_NTASKS", ""}, {"SLURM_NNODES", "1"}}),
               {.devices = 2}, "local 0/2 0/2 0/1 ");
  expect_place("a batch script, local as asked for", slurm_batch_script(), {.cluster = "local"},
               "local 0/1 0/1 0/1 ");
  expect_place("mpirun", with(open_mpi_rank(), {{"MASTER_ADDR", "h0"}}), {}, "mpi 3/4 1/2 1/2 h0");
  expect_place("mpirun, nodes in turns",
               with(open_mpi_rank(), {{"MASTER_ADDR", "h0"}, {"OMPI_COMM_WORLD_RANK", "2"}}), {},
               "mpi 2/4 1/2 0/2 h0");
  expect_place("mpirun, one node",
               with(open_mpi_rank(),
                    {{"OMPI_COMM_WORLD_LOCAL_RANK", "3"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}}),
               {}, "mpi 3/4 3/4 0/1 127.0.0.1");
  expect_place("mpirun -n 1", {{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "1"}}, {},
               "mpi 0/1 0/1 0/1 ");
  expect_place("mpirun in a batch script of SLURM", with(slurm_batch_script(), open_mpi_rank()), {},
               "mpi 3/4 1/2 1/2 node1");
  expect_place("mpirun whose daemons are tasks of SLURM",
               with(with(slurm_task(), open_mpi_rank()), {{"SLURM_PROCID", "1"},
                                                          {"SLURM_STEP_NUM_TASKS", "2"},
                                                          {"SLURM_STEP_TASKS_PER_NODE", "1(x2)"}}),
               {}, "mpi 3/4 1/2 1/2 node1");
  expect_place("mpiexec of MPICH", hydra_rank(), {}, "mpi 1/2 1/2 0/1 127.0.0.1");
  expect_place("MVAPICH",
               {{"MV2_COMM_WORLD_RANK", "1"},
                {"MV2_COMM_WORLD_SIZE", "2"},
                {"MV2_COMM_WORLD_LOCAL_RANK", "1"},
                {"MV2_COMM_WORLD_LOCAL_SIZE", "2"}},
               {}, "mpi 1/2 1/2 0/1 127.0.0.1");
  expect_place("LSF", lsf_task(), {}, "lsf 3/4 1/2 1/2 c05n01");
  expect_place("LSF with another address", with(lsf_task(), {{"MASTER_ADDR", "c05n01-ib"}}), {},
               "lsf 3/4 1/2 1/2 c05n01-ib");
  expect_place("LSF without a launch node", with(lsf_task(), {{"LSB_MCPU_HOSTS", "a 42 b 42"}}), {},
               "lsf 3/4 1/2 1/2 a");
  expect_place("LSF without jsrun", {{"LSB_JOBID", "77"}}, {}, "local 0/1 0/1 0/1 ");
}

TEST_CASE("detect_topology refuses what doesn't fit and says what would") {
  const auto gpus = [](int64_t count) { return TopologyRequest{.visible_gpus = count}; };
  expect_error(
      "no srun", slurm_batch_script(), {},
      {"batch script of job 41 (2 nodes, 4 tasks)", "SLURM_STEP_ID is not set", "write srun"});
  expect_error("no srun, batch as a step of its own",
               with(slurm_batch_script(), {{"SLURM_STEP_ID", "4294967291"}}), {}, {"write srun"});
  expect_error("no srun, SLURM asked for",
               with(slurm_batch_script(), {{"SLURM_NTASKS", "1"}, {"SLURM_NNODES", "1"}}),
               {.cluster = "slurm"}, {"(1 node, 1 task)", "write srun"});
  expect_error("SLURM without it", {}, {.cluster = "slurm"},
               {"SLURM_JOB_ID, SLURM_STEP_ID", "with srun"});
  expect_error("too few tasks on a node",
               with(slurm_task(), {{"SLURM_STEP_TASKS_PER_NODE", "1(x2)"},
                                   {"SLURM_STEP_NUM_TASKS", "2"},
                                   {"SLURM_PROCID", "1"},
                                   {"SLURM_LOCALID", "0"}}),
               {.devices = 2, .num_nodes = 2},
               {"trainer.devices is 2", "node 0 of 2 runs 1 of the 2 tasks", "2 x 2 = 4 tasks",
                "'#SBATCH --nodes=2' and '#SBATCH --ntasks-per-node=2'", "trainer.devices: 1"});
  expect_error(
      "uneven", with(slurm_task(), {{"SLURM_STEP_TASKS_PER_NODE", "3,1"}, {"SLURM_LOCALID", "0"}}),
      {.devices = 2, .num_nodes = 2},
      {"node 0 of 2 runs 3 of the 4 tasks", "'#SBATCH --ntasks-per-node=2'", "no trainer.devices"});
  expect_error("too few nodes", slurm_task(), {.num_nodes = 4},
               {"trainer.num_nodes is 4", "run on 2 nodes", "'#SBATCH --nodes=4'"});
  expect_error("too many nodes", slurm_task(), {.devices = 4, .num_nodes = 1},
               {"trainer.num_nodes is 1", "'#SBATCH --nodes=1' and '#SBATCH --ntasks-per-node=4'",
                "trainer.num_nodes: 2, trainer.devices: 2"});
  expect_error("one GPU for two tasks",
               with(slurm_task(), {{"SLURM_GPUS_ON_NODE", "1"}, {"CUDA_VISIBLE_DEVICES", "0"}}),
               gpus(1), {"sees 1 GPUs and its node runs 2 ranks", "--gres=gpu:2"});
  expect_error("fewer GPUs than tasks",
               with(slurm_task(), {{"SLURM_STEP_TASKS_PER_NODE", "1,3"}, {"SLURM_LOCALID", "2"}}),
               gpus(2), {"sees 2 GPUs and its node runs 3 ranks", "--gres=gpu:3"});
  expect_error("tasks that don't add up", with(slurm_task(), {{"SLURM_STEP_TASKS_PER_NODE", "2"}}),
               {}, {"SLURM_STEP_TASKS_PER_NODE is '2' for 4 tasks on 2 nodes"});
  expect_error("a local rank that isn't there", with(slurm_task(), {{"SLURM_LOCALID", "2"}}), {},
               {"contradict", "local rank 2 of 2"});
  expect_error("a number that is none", with(slurm_task(), {{"SLURM_PROCID", "x"}}), {},
               {"SLURM_PROCID is 'x'"});
  expect_error("a damaged node list", with(slurm_task(), {{"SLURM_STEP_NODELIST", "node[1-"}}), {},
               {"node list: 'node[1-'"});
  expect_error("torchrun without it", {{"RANK", "1"}}, {.cluster = "torchrun"},
               {"torchrun: WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not"});
  expect_error("half of torchrun", {{"RANK", "1"}, {"WORLD_SIZE", "4"}}, {},
               {"RANK=1 and WORLD_SIZE=4", "LOCAL_RANK"});
  expect_error("torchrun with other devices", torchrun_worker(), {.devices = 4},
               {"trainer.devices is 4", "torchrun --nnodes=2 --nproc-per-node=4"});
  expect_error("torchrun, rank too large", with(torchrun_worker(), {{"RANK", "4"}}), {},
               {"torchrun: its variables contradict", "rank 4 of 4"});
  expect_error("torchrun, one GPU", torchrun_worker(), gpus(1), {"sees 1 GPUs"});
  expect_error(
      "mpirun on nodes without an address", open_mpi_rank(), {},
      {"mpi: 2 nodes and neither MASTER_ADDR nor LIGHTNING_RENDEZVOUS_FILE", "-x MASTER_ADDR"});
  expect_error("mpirun, uneven",
               with(open_mpi_rank(), {{"OMPI_COMM_WORLD_LOCAL_SIZE", "3"}, {"MASTER_ADDR", "h"}}),
               {},
               {"rank 3 of 4 is local rank 1 of 3", "the same number of ranks on every node",
                "--map-by ppr:2:node"});
  expect_error("mpi without it", {}, {.cluster = "mpi"}, {"start the program with mpirun"});
  expect_error("lsf without it", {{"LSB_JOBID", "1"}}, {.cluster = "lsf"},
               {"JSM_NAMESPACE_RANK", "jsrun"});
  expect_error("LSF, hosts unknown", with(lsf_task(), {{"LSB_MCPU_HOSTS", ""}}), {},
               {"0 hosts", "export MASTER_ADDR"});
  expect_error("several nodes and no cluster", {}, {.num_nodes = 2},
               {"trainer.num_nodes is 2", "srun or torchrun"});
  expect_error("more devices than GPUs", {}, {.devices = 4, .visible_gpus = 2},
               {"trainer.devices is 4", "2 GPUs are visible", "trainer.devices: 2"});
  expect_error("launched, incomplete", {{"LIGHTNING_RANK", "1"}}, {},
               {"LIGHTNING_WORLD_SIZE, LIGHTNING_MAIN_PORT, LIGHTNING_RUN_ID"});
  expect_error("an unknown cluster", {}, {.cluster = "pbs"},
               {"unknown cluster \"pbs\" in trainer.cluster", "torchrun, lsf, mpi, slurm, local"});
  expect_error("no devices", {}, {.devices = 0}, {"trainer.devices is 0"});
  expect_error("no nodes", {}, {.num_nodes = 0}, {"trainer.num_nodes is 0"});
}

TEST_CASE("a rank takes the GPU of its local rank, or the only one it sees") {
  const auto device = [](const EnvironmentVariables& variables, int64_t gpus) {
    return detect_topology(variables, {.visible_gpus = gpus}).device_index;
  };
  CHECK(device(slurm_task(), 0) == 0);
  CHECK(device(with(slurm_task(), {{"CUDA_VISIBLE_DEVICES", "0,1"}}), 2) == 1);
  // --gpus-per-task=1
  CHECK(device(with(slurm_task(), {{"CUDA_VISIBLE_DEVICES", "1"}, {"SLURM_GPUS_ON_NODE", "2"}}),
               1) == 0);
  CHECK(device(torchrun_worker(), 2) == 1);
  CHECK(device(launched_rank(), 8) == 1);
  CHECK(device(with(open_mpi_rank(), {{"MASTER_ADDR", "h"}}), 2) == 1);
}

TEST_CASE("a run's id names one incarnation and gives the ports that rank 0 tries") {
  const Topology first = detect_topology(slurm_task(), {});
  CHECK(first.run_id == "41.0.0");
  const Topology again = detect_topology(with(slurm_task(), {{"SLURM_RESTART_COUNT", "2"}}), {});
  CHECK(again.run_id == "41.0.2");
  const Topology other = detect_topology(with(slurm_task(), {{"SLURM_JOB_ID", "42"}}), {});

  CHECK(first.main_ports.size() == 16);
  CHECK(std::set<uint16_t>(first.main_ports.begin(), first.main_ports.end()).size() == 16);
  for (const uint16_t port : first.main_ports) {
    CHECK(port >= 10'000);
    CHECK(port < 30'000);
  }
  const EnvironmentVariables rank_0 =
      with(slurm_task(), {{"SLURM_PROCID", "0"}, {"SLURM_LOCALID", "0"}, {"SLURM_NODEID", "0"}});
  CHECK(detect_topology(rank_0, {}).main_ports == first.main_ports);
  CHECK(other.main_ports != first.main_ports);
  CHECK(again.main_ports != first.main_ports);
  CHECK(detect_topology(launched_rank(), {}).run_id == "abc");
  CHECK(detect_topology(launched_rank(), {}).main_ports == std::vector<uint16_t>{40001});
}

TEST_CASE("torchrun's own port and store are used") {
  const Topology topology = detect_topology(torchrun_worker(), {});
  CHECK(topology.main_ports == std::vector<uint16_t>{29400});
  CHECK(topology.agent_store);
  CHECK(topology.run_id == "none.29400.1");
  const auto manual = with(torchrun_worker(), {{"TORCHELASTIC_USE_AGENT_STORE", ""}});
  CHECK_FALSE(detect_topology(manual, {}).agent_store);
}

TEST_CASE("two mpiexec on one machine have different runs") {
  const Topology one = detect_topology(hydra_rank(), {});
  CHECK(one.main_ports == detect_topology(hydra_rank(), {}).main_ports);
  const Topology two = detect_topology(with(hydra_rank(), {{"LIGHTNING_PARENT_PID", "701"}}), {});
  CHECK(one.run_id != two.run_id);
  // Under Open MPI ranks may have different parents.
  const auto rank = with(open_mpi_rank(), {{"LIGHTNING_RENDEZVOUS_FILE", "/shared/file"}});
  const Topology three = detect_topology(with(rank, {{"LIGHTNING_PARENT_PID", "1"}}), {});
  CHECK(three.run_id == detect_topology(rank, {}).run_id);
  CHECK(three.rendezvous_file == "/shared/file");
  CHECK(three.main_host.empty());
}

TEST_CASE("LSF's rank file is read when there is one") {
  const lightning_tests::TemporaryFolder folder;
  const auto file = folder.path() / "ranks";
  std::ofstream(file) << "launch\nhost-b\nhost-b\nhost-a\nhost-a\n";
  const Topology topology =
      detect_topology(with(lsf_task(), {{"LSB_DJOB_RANKFILE", file.string()}}), {});
  CHECK(topology.main_host == "host-b");
  CHECK(topology.run_id.substr(0, 2) == "77");
}

TEST_CASE("describe says which cluster was chosen, and why") {
  CHECK(describe(detect_topology(slurm_task(), {})) ==
        "cluster: slurm (srun started this task: SLURM_PROCID=3, SLURM_NTASKS=4), rank 3 of 4 on "
        "node 1 of 2");
  CHECK_THAT(describe(detect_topology(salloc_shell(), {})),
             Catch::Contains("local (this is an interactive shell of a SLURM job"));
  CHECK_THAT(describe(detect_topology({}, {.cluster = "local"})),
             Catch::Contains("trainer.cluster names it"));
}

namespace {

struct WorkersOptions {
  std::string prefix = "WORKER";
};
LIGHTNING_FIELDS(WorkersOptions, LIGHTNING_FIELD(prefix, "what its variables begin with"))

/// Workers that PREFIX_RANK and PREFIX_SIZE number.
class Workers final : public lightning::ClusterEnvironment {
 public:
  explicit Workers(const WorkersOptions& options) : options_(options) {}
  std::string_view name() const override { return "workers"; }
  bool detect(const EnvironmentVariables& variables) const override {
    return variables.contains(options_.prefix + "_RANK");
  }
  Topology topology(const EnvironmentVariables& variables, const TopologyRequest&) const override {
    Topology topology;
    topology.world_size = std::stoll(variables.at(options_.prefix + "_SIZE"));
    topology.local_world_size = topology.world_size;
    topology.global_rank = std::stoll(variables.at(options_.prefix + "_RANK"));
    topology.local_rank = topology.global_rank;
    topology.main_host = "10.0.0.1";
    topology.main_ports = {4000};
    return topology;
  }

 private:
  WorkersOptions options_;
};

}  // namespace

TEST_CASE("A program's own cluster is asked first and is named with its options") {
  lightning::cluster_registry().add<Workers, WorkersOptions>("workers", "for this test");
  const EnvironmentVariables own = {{"WORKER_RANK", "2"}, {"WORKER_SIZE", "3"}};
  const Topology found = detect_topology(with(slurm_task(), own), {});
  CHECK(found.cluster == "workers");
  CHECK(found.global_rank == 2);
  CHECK(found.reason == "it recognized its variables");
  CHECK(detect_topology(slurm_task(), {}).cluster == "slurm");
  CHECK(detect_topology(with(slurm_task(), own), {.cluster = "slurm"}).cluster == "slurm");

  const EnvironmentVariables others = {{"CREW_RANK", "1"}, {"CREW_SIZE", "2"}};
  const Topology named =
      detect_topology(others, {.cluster = "{class_path: workers, init_args: {prefix: CREW}}"});
  CHECK(named.global_rank == 1);
  CHECK(named.reason == "trainer.cluster names it");

  const auto object = std::make_shared<Workers>(WorkersOptions{.prefix = "CREW"});
  CHECK(detect_topology(others, {.environment = object}).world_size == 2);
  CHECK_THROWS_WITH(detect_topology({{"WORKER_RANK", "3"}, {"WORKER_SIZE", "3"}}, {}),
                    Catch::Contains("cluster workers: rank 3 of 3") && Catch::Contains("HINT"));
  CHECK_THROWS_WITH(detect_topology({}, {.cluster = "slrum"}),
                    Catch::Contains("did you mean \"slurm\""));
}

TEST_CASE("A rank that was started for a program's own cluster starts no others") {
  class Starter final : public lightning::ClusterEnvironment {
   public:
    std::string_view name() const override { return "starter"; }
    bool detect(const EnvironmentVariables&) const override { return true; }
    Topology topology(const EnvironmentVariables&, const TopologyRequest&) const override {
      Topology topology;
      topology.world_size = topology.local_world_size = 2;
      topology.needs_launch = true;
      return topology;
    }
  };
  const TopologyRequest request = {.environment = std::make_shared<Starter>()};
  CHECK(detect_topology({}, request).needs_launch);
  const Topology started = detect_topology({{"LIGHTNING_RANK", "1"},
                                            {"LIGHTNING_WORLD_SIZE", "2"},
                                            {"LIGHTNING_MAIN_PORT", "4000"},
                                            {"LIGHTNING_RUN_ID", "one"}},
                                           request);
  CHECK_FALSE(started.needs_launch);
  CHECK(started.cluster == "starter");
  CHECK(started.global_rank == 1);
  CHECK(started.main_ports == std::vector<uint16_t>{4000});
}
