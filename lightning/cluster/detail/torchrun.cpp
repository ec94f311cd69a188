#include <lightning/cluster/detail/environments.h>
#include <lightning/cluster/detail/variables.h>
#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

std::string start_text(int64_t nodes, int64_t tasks) {
  return concat("start it with torchrun --nnodes=", nodes, " --nproc-per-node=", tasks);
}

}  // namespace

bool is_torchrun_worker(const EnvironmentVariables& variables) {
  return Variables(variables, "torchrun")
      .has_all({"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"});
}

Topology torchrun_topology(const EnvironmentVariables& variables, const TopologyRequest& request) {
  const Variables values(variables, "torchrun");
  values.require({"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"},
                 "start the program with torchrun, or choose a different trainer.cluster");
  Topology topology;
  topology.cluster = "torchrun";
  topology.world_size = *values.number("WORLD_SIZE");
  topology.global_rank = *values.number("RANK");
  topology.local_rank = *values.number("LOCAL_RANK");
  topology.reason = concat("RANK=", topology.global_rank, ", WORLD_SIZE=", topology.world_size,
                           ", LOCAL_RANK and MASTER_ADDR are set");
  const auto local_size = values.number("LOCAL_WORLD_SIZE");
  const auto groups = values.number("GROUP_WORLD_SIZE");
  const auto group = values.first_number({"GROUP_RANK", "NODE_RANK"});
  topology.local_world_size = local_size.value_or(request.devices.value_or(topology.world_size));
  if (groups && group) {
    topology.num_nodes = *groups;
    topology.node_rank = *group;
  } else {
    deduce_nodes(topology, start_text);
  }

  topology.main_host = *values.find("MASTER_ADDR");
  const int64_t port = *values.number("MASTER_PORT");
  LIGHTNING_CHECK(port <= 65535, ConfigError, "torchrun: MASTER_PORT is ", port,
                  ", expected a port up to 65535. HINT: pass a different --master-port");
  topology.main_ports = {static_cast<uint16_t>(port)};
  topology.agent_store = values.first_of({"TORCHELASTIC_USE_AGENT_STORE"}) == "True";
  const std::string* id = values.find("TORCHELASTIC_RUN_ID");
  topology.run_id = concat(id != nullptr ? *id : "none", ".", port, ".",
                           values.number("TORCHELASTIC_RESTART_COUNT").value_or(0));
  check_topology(topology, request, {topology.local_world_size}, values, start_text);
  topology.device_index = choose_device(topology, request);
  return topology;
}

}  // namespace lightning::detail
