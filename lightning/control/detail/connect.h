/// How a rank comes to its control plane.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <lightning/cluster/topology.h>
#include <lightning/control/control_plane.h>
#include <lightning/util/detail/socket.h>
#include <lightning/util/export.h>

namespace lightning::detail {

/// A way to find rank 0 other than by Topology's host and ports: torchrun's store, or a file.
struct Rendezvous {
  /// Called by rank 0 with the addresses at which it may be reached: "host:port,host:port".
  std::function<void(const std::string& addresses)> publish;
  /// Called by the others: what was published, waiting for it until the deadline; empty when
  /// nothing came. Called again when it leads nowhere.
  std::function<std::string(Deadline)> lookup;
};

/// Opens the hub (rank 0, on `listener` when given) or connects to it and waits for all ranks.
/// Every rank must call it. With agent_store a rendezvous is needed; a rendezvous_file needs none.
/// Throws DistributedError naming the ranks that are missing.
LIGHTNING_API std::shared_ptr<ControlPlane> connect_control_plane(
    const Topology& topology, const ControlPlaneOptions& options, Socket listener = {},
    Rendezvous rendezvous = {});

}  // namespace lightning::detail
