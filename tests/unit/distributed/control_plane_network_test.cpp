// Two nodes with a network between them: namespaces of this machine, joined by a pair of virtual
// interfaces. Skipped without the right to make them.
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <cstdlib>
#include <thread>

#include <lightning/distributed/control_plane.h>
#include <lightning/util/error.h>

#include "control_plane_ranks.h"
#include "support/skip.h"

using namespace lightning;
using namespace lightning_tests;
using Catch::Contains;
using namespace std::chrono_literals;

namespace {

constexpr uint16_t kPort = 23456;  // nobody else is in these networks

class TwoNodes {
 public:
  TwoNodes() : tag_(detail::concat("lt", ::getpid())) {
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
  std::string interface(int node) const { return tag_ + (node == 0 ? "a" : "b"); }
  bool set_links(const char* state) const {
    return on(0, "ip link set ", interface(0), " ", state) &&
           on(1, "ip link set ", interface(1), " ", state);
  }
  /// Moves this process (a rank) to a node.
  void enter(int node) const {
    const std::string path = detail::concat("/run/netns/", name(node));
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    expect(descriptor >= 0 && ::setns(descriptor, CLONE_NEWNET) == 0);
    ::close(descriptor);
  }

 private:
  template <typename... Parts>
  static bool shell(const Parts&... parts) {
    const std::string command = detail::concat(parts..., " > /dev/null 2>&1");
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

/// Ranks 0 and 1 on the first node, where rank 0's host name leads to loopback; rank 2 on the
/// other.
Topology topology_of(int64_t rank) {
  Topology topology;
  topology.world_size = 3;
  topology.global_rank = rank;
  topology.num_nodes = 2;
  topology.node_rank = rank / 2;
  topology.main_host = rank == 2 ? "10.231.7.1" : "localhost";
  topology.main_ports = {kPort};
  topology.run_id = "two nodes";
  return topology;
}

std::string all_addresses(ControlPlane& plane) {
  std::string texts;
  for (const std::string& text : plane.all_gather("addresses", plane.local_address())) {
    texts += text + " ";
  }
  return texts;
}

}  // namespace

TEST_CASE("ControlPlane: ranks tell addresses that lead to them from other nodes") {
  const TwoNodes nodes;
  if (!nodes.made()) SKIP_TEST("no right to make network namespaces");
  const bool name_interface = GENERATE(false, true);
  const auto body = [&](int64_t rank) {
    const int node = rank == 2 ? 1 : 0;
    nodes.enter(node);
    ControlPlaneOptions options;
    if (name_interface) options.interface = nodes.interface(node);
    const auto plane = ControlPlane::connect(topology_of(rank), options);
    const std::string addresses = all_addresses(*plane);
    plane->leave();
    return addresses;
  };
  std::vector<std::unique_ptr<RankProcess>> ranks;
  for (int64_t rank = 0; rank < 3; ++rank) {
    ranks.push_back(std::make_unique<RankProcess>(rank, [&, rank] { return body(rank); }));
  }
  for (const auto& rank : ranks) {
    CHECK(rank->read_line() == "10.231.7.1 10.231.7.1 10.231.7.2 ");
    CHECK(rank->wait() == "exit 0");
  }
}

TEST_CASE("ControlPlane: both sides of a cut cable end, and name the other one") {
  const TwoNodes nodes;
  if (!nodes.made()) SKIP_TEST("no right to make network namespaces");
  const auto body = [&](int64_t rank) {
    nodes.enter(rank == 2 ? 1 : 0);
    ControlPlaneOptions options;
    options.heartbeat_timeout = 2s;
    const auto plane = ControlPlane::connect(topology_of(rank), options);
    plane->barrier("start");
    RankProcess::say("ready");
    while (!plane->failed()) std::this_thread::sleep_for(5ms);
    return plane->failure();
  };
  std::vector<std::unique_ptr<RankProcess>> ranks;
  for (int64_t rank = 0; rank < 3; ++rank) {
    ranks.push_back(std::make_unique<RankProcess>(rank, [&, rank] { return body(rank); }));
  }
  for (const auto& rank : ranks) REQUIRE(rank->read_line() == "ready");
  REQUIRE(nodes.set_links("down"));
  CHECK_THAT(ranks[0]->read_line(), Contains("rank 2 (") && Contains("frozen"));
  CHECK_THAT(ranks[1]->read_line(), Contains("rank 2 (") && Contains("frozen"));
  CHECK_THAT(ranks[2]->read_line(), Contains("rank 0 (") && Contains("frozen"));
}
