/// Two nodes with a network between them: namespaces of this machine, joined by a pair of virtual
/// interfaces.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include <lightning/cluster/topology.h>
#include <lightning/util/error.h>

#include "unit/control/control_plane_ranks.h"

namespace lightning_tests {

class TwoNodes {
 public:
  TwoNodes() : tag_(lightning::detail::concat("lt", ::getpid())) {
    made_ = shell("ip netns add ", name(0)) && shell("ip netns add ", name(1)) &&
            shell("ip link add ", interface(0), " netns ", name(0), " type veth peer name ",
                  interface(1), " netns ", name(1)) &&
            on(0, "ip addr add 10.231.7.1/24 dev ", interface(0)) &&
            on(1, "ip addr add 10.231.7.2/24 dev ", interface(1)) && set_links("up") &&
            on(0, "ip link set lo up") && on(1, "ip link set lo up");
  }
  ~TwoNodes() {
    shell("ip netns del ", name(0));
    shell("ip netns del ", name(1));
  }

  bool made() const { return made_; }
  /// Ranks 0 and 1 on the first node, where rank 0's host name leads to loopback; rank 2 on the
  /// other.
  static lightning::Topology topology(int64_t rank) {
    lightning::Topology topology;
    topology.world_size = 3;
    topology.global_rank = rank;
    topology.num_nodes = 2;
    topology.node_rank = node_of(rank);
    topology.main_host = rank == 2 ? "10.231.7.1" : "localhost";
    topology.main_ports = {23456};  // no other process is in these networks
    topology.run_id = "two nodes";
    return topology;
  }
  static int node_of(int64_t rank) { return rank == 2 ? 1 : 0; }

  std::string interface(int node) const { return tag_ + (node == 0 ? "a" : "b"); }
  bool set_links(const char* state) const {
    return on(0, "ip link set ", interface(0), " ", state) &&
           on(1, "ip link set ", interface(1), " ", state);
  }
  /// Moves this process (a rank) to a node.
  void enter(int node) const {
    const std::string path = lightning::detail::concat("/run/netns/", name(node));
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    expect(descriptor >= 0 && ::setns(descriptor, CLONE_NEWNET) == 0);
    ::close(descriptor);
  }

 private:
  template <typename... Parts>
  static bool shell(const Parts&... parts) {
    const std::string command = lightning::detail::concat(parts..., " > /dev/null 2>&1");
    return std::system(command.c_str()) == 0;
  }
  template <typename... Parts>
  bool on(int node, const Parts&... parts) const {
    return shell("ip netns exec ", name(node), " ", parts...);
  }
  std::string name(int node) const { return tag_ + (node == 0 ? "_0" : "_1"); }

  std::string tag_;
  bool made_ = false;
};

}  // namespace lightning_tests
