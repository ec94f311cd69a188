// Where the hub listens, and two nodes with a network between them: namespaces of this machine,
// joined by a pair of virtual interfaces. Skipped without the right to make them.
#include <catch2/catch.hpp>

#include <set>
#include <thread>

#include <lightning/control/control_plane.h>
#include <lightning/control/detail/connect.h>
#include <lightning/util/error.h>

#include "support/listening_addresses.h"
#include "support/skip.h"
#include "support/temporary_folder.h"
#include "unit/control/control_plane_ranks.h"
#include "unit/control/two_nodes.h"

using namespace lightning;
using namespace lightning_tests;
using Catch::Contains;
using namespace std::chrono_literals;

namespace {

std::string all_addresses(ControlPlane& plane) {
  std::string texts;
  for (const std::string& text : plane.all_gather("addresses", plane.local_address())) {
    texts += text + " ";
  }
  return texts;
}

/// Where a rank listens while all are connected: each address once, without ports.
std::string hosts_listened_on(ControlPlane& plane) {
  plane.barrier("all are there");
  std::set<std::string> hosts;
  for (const std::string& address : listening_addresses()) {
    hosts.insert(address.substr(0, address.find(':')));
  }
  std::string text;
  for (const std::string& host : hosts) text += host + " ";
  plane.leave();
  return text;
}

}  // namespace

TEST_CASE("ControlPlane: on one node rank 0 listens on loopback only, the others nowhere",
          "[process]") {
  const TemporaryFolder folder;
  std::vector<std::unique_ptr<RankProcess>> ranks;
  for (int64_t rank = 0; rank < 2; ++rank) {
    ranks.push_back(std::make_unique<RankProcess>(rank, [&, rank] {
      Topology topology;
      topology.world_size = topology.local_world_size = 2;
      topology.global_rank = topology.local_rank = rank;
      topology.run_id = "one node";
      topology.rendezvous_file = (folder.path() / "rendezvous").string();
      return hosts_listened_on(*detail::connect_control_plane(topology, {}));
    }));
  }
  CHECK(ranks[0]->read_line() == "0100007F ");
  CHECK(ranks[1]->read_line() == "");
  for (const auto& rank : ranks) CHECK(rank->wait() == "exit 0");
}

TEST_CASE("ControlPlane: between nodes rank 0 listens on the interface that is named",
          "[process]") {
  const TwoNodes nodes;
  if (!nodes.made()) SKIP_TEST("no right to make network namespaces");
  const bool name_interface = GENERATE(false, true);
  std::vector<std::unique_ptr<RankProcess>> ranks;
  for (int64_t rank = 0; rank < 3; ++rank) {
    ranks.push_back(std::make_unique<RankProcess>(rank, [&, rank] {
      const int node = TwoNodes::node_of(rank);
      nodes.enter(node);
      ControlPlaneOptions options;
      if (name_interface) options.interface = nodes.interface(node);
      return hosts_listened_on(*detail::connect_control_plane(TwoNodes::topology(rank), options));
    }));
  }
  CHECK(ranks[0]->read_line() == (name_interface ? "0107E70A " : "00000000 "));  // 10.231.7.1
  CHECK(ranks[1]->read_line() == "");
  CHECK(ranks[2]->read_line() == "");
  for (const auto& rank : ranks) CHECK(rank->wait() == "exit 0");
}

TEST_CASE("ControlPlane: ranks tell addresses that lead to them from other nodes", "[process]") {
  const TwoNodes nodes;
  if (!nodes.made()) SKIP_TEST("no right to make network namespaces");
  const bool name_interface = GENERATE(false, true);
  const auto body = [&](int64_t rank) {
    const int node = TwoNodes::node_of(rank);
    nodes.enter(node);
    ControlPlaneOptions options;
    if (name_interface) options.interface = nodes.interface(node);
    const auto plane = detail::connect_control_plane(TwoNodes::topology(rank), options);
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

TEST_CASE("ControlPlane: both sides of a cut cable end, and name the other one", "[process]") {
  const TwoNodes nodes;
  if (!nodes.made()) SKIP_TEST("no right to make network namespaces");
  const auto body = [&](int64_t rank) {
    nodes.enter(TwoNodes::node_of(rank));
    ControlPlaneOptions options;
    options.heartbeat_timeout = 2s;
    const auto plane = detail::connect_control_plane(TwoNodes::topology(rank), options);
    plane->barrier("start");
    RankProcess::say("ready");
    while (!plane->failed()) std::this_thread::sleep_for(5ms);
    return plane->failure().text;
  };
  std::vector<std::unique_ptr<RankProcess>> ranks;
  for (int64_t rank = 0; rank < 3; ++rank) {
    ranks.push_back(std::make_unique<RankProcess>(rank, [&, rank] { return body(rank); }));
  }
  for (const auto& rank : ranks) REQUIRE(rank->read_line() == "ready");
  REQUIRE(nodes.set_links("down"));
  CHECK_THAT(ranks[0]->read_line(), Contains("rank 2 (") && Contains("not responding"));
  CHECK_THAT(ranks[1]->read_line(), Contains("rank 2 (") && Contains("not responding"));
  CHECK_THAT(ranks[2]->read_line(), Contains("rank 0 (") && Contains("not responding"));
}
