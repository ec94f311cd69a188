/// World: the ranks of this program and the ways between them. Made once per process by the first
/// Trainer that needs more than one rank, and kept until the process ends.
#pragma once

#include <memory>

#include <ATen/core/Tensor.h>

#include <lightning/distributed/control_plane.h>
#include <lightning/distributed/process_group.h>
#include <lightning/distributed/topology.h>
#include <lightning/util/export.h>

namespace lightning {

struct WorldOptions {
  ControlPlaneOptions control;
  at::Device device = at::Device(at::kCPU);
};

class LIGHTNING_API World {
 public:
  /// Launches the other ranks where nobody did, connects all, and makes the process group. Every
  /// rank must call it. Later calls give the same world; a ConfigError when they want another.
  static std::shared_ptr<World> join(const Topology& topology, const WorldOptions& options);
  /// The world of this process, or null with one rank.
  static std::shared_ptr<World> current();

  const Topology& topology() const { return topology_; }
  ControlPlane& control() { return *control_; }
  ProcessGroup& group() { return *group_; }
  const std::shared_ptr<ProcessGroup>& shared_group() { return group_; }

 private:
  World() = default;
  Topology topology_;
  std::shared_ptr<ControlPlane> control_;
  std::shared_ptr<ProcessGroup> group_;
};

}  // namespace lightning
