/// World: the ranks of this program and the channels that connect them. Made once per process, by
/// the first Trainer that needs more than one rank or by join_world(), and kept until the process
/// ends.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/cluster/topology.h>
#include <lightning/collectives/process_group.h>
#include <lightning/control/control_plane.h>
#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

struct WorldOptions {
  ControlPlaneOptions control;
  at::Device device = at::Device(at::kCPU);
  /// Auto is Gloo where there are several nodes.
  ProcessGroupBackend process_group_backend = ProcessGroupBackend::kAuto;
};

class LIGHTNING_API World {
 public:
  /// Launches the other ranks unless a launcher did, connects all, and makes the process group.
  /// Every rank must call it. Later calls give the same world; a ConfigError when they request
  /// a different one. When a rank fails, now or later, the group fails with the control plane's
  /// text, which under torchrun is also written to its error file.
  static std::shared_ptr<World> join(const Topology& topology, const WorldOptions& options);
  /// Rank 0 of a simulated world, for dry runs: collectives and exchanges return at once with what
  /// equal ranks would give. Independent of join(); no process waits for it at the end.
  static std::shared_ptr<World> fake(const Topology& topology, const at::Device& device);
  /// A world of parts that exist already: ranks that are threads of one process, tests.
  static std::shared_ptr<World> from_parts(const Topology& topology, const at::Device& device,
                                           std::shared_ptr<ControlPlane> control,
                                           std::shared_ptr<ProcessGroup> group);
  /// The world of this process, or null before one is joined (a Trainer with one rank needs none).
  static std::shared_ptr<World> current();

  /// At the end of the program (run_main() calls it, else it happens at exit): leaves the
  /// other ranks, or notifies them that this one failed when `exit_code` isn't 0. Waits for them.
  /// Returns what went wrong meanwhile (a rank exited or hung before it left); else an empty
  /// text.
  static std::string leave(int exit_code) noexcept;

  int64_t rank() const { return topology_.global_rank; }
  int64_t size() const { return topology_.world_size; }
  bool is_rank_zero() const { return rank() == 0; }
  at::Device device() const { return device_; }
  /// With the address of rank 0, also where the ranks were launched from here.
  const Topology& topology() const { return topology_; }
  ControlPlane& control() { return *control_; }
  ProcessGroup& group() { return *group_; }
  const std::shared_ptr<ProcessGroup>& shared_group() { return group_; }

  /// The states of all ranks, by rank, over the control plane: tensors may be of any dtype and
  /// differ from rank to rank, and come back on the CPU. Every rank must call it with the same
  /// name, from its training thread, and waits for the others. Sync: tensors are copied to the
  /// host. Throws DistributedError when a rank is at an exchange of a different name, fails, or is
  /// late by collective_timeout.
  std::vector<StateDict> all_gather(std::string_view name, const StateDict& state);

 private:
  World() = default;
  void connect(const WorldOptions& options);

  Topology topology_;
  at::Device device_ = at::Device(at::kCPU);
  std::shared_ptr<ControlPlane> control_;
  std::shared_ptr<ProcessGroup> group_;
  bool left_ = false;
};

}  // namespace lightning
