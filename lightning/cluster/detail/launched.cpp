#include <lightning/cluster/detail/environments.h>
#include <lightning/cluster/detail/variables.h>
#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

std::string start_text(int64_t, int64_t tasks) { return concat("set trainer.devices: ", tasks); }

Topology launched_topology(const Variables& values, const TopologyRequest& request) {
  values.require(
      {"LIGHTNING_RANK", "LIGHTNING_WORLD_SIZE", "LIGHTNING_MAIN_PORT", "LIGHTNING_RUN_ID"},
      "remove the variables that begin with LIGHTNING_ from your environment");
  Topology topology;
  topology.global_rank = topology.local_rank = *values.number("LIGHTNING_RANK");
  topology.world_size = topology.local_world_size = *values.number("LIGHTNING_WORLD_SIZE");
  topology.reason = "rank 0 of this program started it";
  topology.main_host = "127.0.0.1";
  const int64_t port = *values.number("LIGHTNING_MAIN_PORT");
  LIGHTNING_CHECK(port <= 65535, ConfigError, "local: LIGHTNING_MAIN_PORT is ", port,
                  ", expected a port up to 65535. HINT: remove it from your environment");
  topology.main_ports = {static_cast<uint16_t>(port)};
  topology.run_id = *values.find("LIGHTNING_RUN_ID");
  check_topology(topology, request, {topology.local_world_size}, values, start_text);
  return topology;
}

}  // namespace

bool is_launched_rank(const EnvironmentVariables& variables) {
  return Variables(variables, "local").has("LIGHTNING_RANK");
}

Topology local_topology(const EnvironmentVariables& variables, const TopologyRequest& request) {
  const Variables values(variables, "local");
  Topology topology;
  if (is_launched_rank(variables)) {
    topology = launched_topology(values, request);
  } else {
    const int64_t nodes = request.num_nodes.value_or(1);
    const int64_t devices = request.devices.value_or(1);
    LIGHTNING_CHECK(nodes == 1, ConfigError, "local: trainer.num_nodes is ", nodes,
                    " and no cluster started this process, expected 1. HINT: start the program "
                    "with srun or torchrun on every node");
    LIGHTNING_CHECK(request.visible_gpus == 0 || devices <= request.visible_gpus, ConfigError,
                    "local: trainer.devices is ", devices, " and ", request.visible_gpus,
                    " GPUs are visible, expected no more than those. HINT: ",
                    start_text(1, request.visible_gpus));
    topology.world_size = topology.local_world_size = devices;
    topology.needs_launch = devices > 1;
  }
  topology.device_index = choose_device(topology, request);
  return topology;
}

}  // namespace lightning::detail
