/// How the ranks of a run find their hub, and make sure that it is theirs.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <lightning/cluster/topology.h>
#include <lightning/control/detail/connect.h>
#include <lightning/control/detail/message.h>
#include <lightning/util/detail/socket.h>

namespace lightning::detail {

/// Rank 0: the socket on which the others are awaited.
LIGHTNING_API Socket open_listener(const Topology& topology, const ControlPlaneOptions& options,
                                   const Rendezvous& rendezvous);
/// "host:port,host:port": where a socket that listens on `port` may be reached.
LIGHTNING_API std::string published_addresses(const Topology& topology,
                                              const ControlPlaneOptions& options, uint16_t port);

/// Goes round all places where the hub may be until one answers as the hub of this run. Throws
/// DistributedError at the deadline, and when that hub doesn't want this rank.
LIGHTNING_API Socket find_hub(const Topology& topology, const ControlPlaneOptions& options,
                              const Rendezvous& rendezvous, const Hello& hello, Deadline deadline);

/// True when the other end is the hub of this run. Sets `foreign` to what it is when it isn't.
/// Throws DistributedError when the hub doesn't want this rank.
LIGHTNING_API bool greet_hub(Socket& socket, const Hello& hello, Deadline deadline,
                             std::string& foreign);

/// A rendezvous by a file that all nodes see. It names the run, so that old ones are passed over.
LIGHTNING_API Rendezvous file_rendezvous(const std::string& path, const std::string& run_id);

}  // namespace lightning::detail
