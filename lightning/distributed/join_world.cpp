#include <lightning/distributed/join_world.h>

#include <vector>

#include <ATen/Parallel.h>

#include <lightning/accelerators/accelerator.h>
#include <lightning/cluster/detail/threads_per_rank.h>
#include <lightning/util/log.h>

namespace lightning {

Placement place_rank(const WorldRequest& request) {
  const Accelerator accelerator = Accelerator::resolve(request.accelerator, request.devices);
  const std::vector<at::Device>& devices = accelerator.devices();
  const bool on_gpu = devices.front().is_cuda();
  const bool as_many_as_there_are = request.devices == "auto";
  TopologyRequest topology;
  topology.cluster = request.cluster;
  topology.environment = request.environment;
  if (!as_many_as_there_are) topology.devices = static_cast<int64_t>(devices.size());
  // 1 is the default, so it does not override what the cluster reports.
  if (request.num_nodes > 1) topology.num_nodes = request.num_nodes;
  if (on_gpu) topology.visible_gpus = num_gpus();

  Placement placement;
  placement.topology = detect_topology(current_environment(), topology);
  const auto local_rank = static_cast<size_t>(placement.topology.local_rank);
  if (on_gpu && (as_many_as_there_are || local_rank >= devices.size())) {
    const auto index = static_cast<c10::DeviceIndex>(placement.topology.device_index);
    placement.device = at::Device(at::kCUDA, index);
  } else {
    placement.device = on_gpu ? devices[local_rank] : devices.front();
  }
  return placement;
}

std::shared_ptr<World> join_world(const WorldRequest& request) {
  const Placement placement = place_rank(request);
  return join_world(placement.topology, {.control = {},
                                         .device = placement.device,
                                         .process_group_backend = request.process_group_backend});
}

std::shared_ptr<World> join_world(const Topology& topology, const WorldOptions& options) {
  set_current_device(options.device);
  auto world = World::join(topology, options);
  set_log_rank(static_cast<int>(world->rank()));
  set_threads(world->topology());
  return world;
}

void set_threads(const Topology& topology) {
  if (topology.world_size == 1 && topology.cluster == "local") return;
  at::set_num_threads(static_cast<int>(threads_per_rank(current_environment(), topology)));
}

}  // namespace lightning
