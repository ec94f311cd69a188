/// How a program joins its ranks: which rank this process is, on which device, and the world that
/// they make up. The Trainer does the same for its options.
#pragma once

#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

#include <lightning/cluster/topology.h>
#include <lightning/distributed/world.h>
#include <lightning/util/export.h>

namespace lightning {

/// What TrainerOptions has under the same names.
struct WorldRequest {
  /// auto, cpu, gpu or cuda.
  std::string accelerator = "auto";
  /// Per node: auto (what the cluster started, else one), a number, or a list of GPUs.
  std::string devices = "auto";
  /// 1: as many as the cluster gave.
  int64_t num_nodes = 1;
  /// auto or a class of cluster_registry(): slurm, torchrun, mpi, lsf, local, a program's own.
  config::ClassSpec cluster = "auto";
  /// Goes before `cluster`; may be null.
  std::shared_ptr<const ClusterEnvironment> environment = nullptr;
  ProcessGroupBackend process_group_backend = ProcessGroupBackend::kAuto;
};

struct Placement {
  Topology topology;
  at::Device device = at::Device(at::kCPU);
};

/// Reads environment and hardware; starts nothing. Throws ConfigError where they contradict the
/// request.
LIGHTNING_API Placement place_rank(const WorldRequest& request);

/// place_rank() and World::join(): starts the other ranks unless a launcher did, joins them and
/// sets this process's threads (threads_per_rank()) and current device. With one rank it is a world
/// of one. Every rank must call it, early in main(): a started process comes here anew, from the
/// top. Throws ConfigError like place_rank(), DistributedError when the ranks don't come together.
LIGHTNING_API std::shared_ptr<World> join_world(const WorldRequest& request = {});
/// The same for a place that is known.
LIGHTNING_API std::shared_ptr<World> join_world(const Topology& topology,
                                                const WorldOptions& options);
/// Gives this process its threads (threads_per_rank()) where a cluster started it or other ranks
/// share the machine; else leaves them as they are.
LIGHTNING_API void set_threads(const Topology& topology);

}  // namespace lightning
