#include <sched.h>
#include <unistd.h>

#include <memory>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/collectives/process_group.h>
#include <lightning/control/control_plane.h>
#include <lightning/control/detail/connect.h>

#include "support/skip.h"
#include "unit/control/control_plane_ranks.h"
#include "unit/control/two_nodes.h"

using namespace lightning_tests;
using lightning::ControlPlane;
using lightning::ProcessGroup;

namespace {

/// This process is on a host whose name leads to loopback, as Debian's installer makes them.
void take_misleading_host_name() {
  const std::string name = "localhost";
  expect(::unshare(CLONE_NEWUTS) == 0 && ::sethostname(name.c_str(), name.size()) == 0);
}

}  // namespace

TEST_CASE("ProcessGroup: tensors pass between nodes whose host names lead to loopback",
          "[process]") {
  const TwoNodes nodes;
  if (!nodes.made()) SKIP_TEST("no right to make network namespaces");
  const auto body = [&](int64_t rank) {
    nodes.enter(TwoNodes::node_of(rank));
    take_misleading_host_name();
    const auto plane = lightning::detail::connect_control_plane(TwoNodes::topology(rank), {});
    const auto group = ProcessGroup::create(plane, at::kCPU, lightning::ProcessGroupBackend::kGloo);
    at::Tensor ranks = torch::full({1000}, rank + 1, at::kLong);
    group->all_reduce(ranks);
    plane->leave();
    return std::to_string(ranks.sum().item<int64_t>());
  };
  std::vector<std::unique_ptr<RankProcess>> ranks;
  for (int64_t rank = 0; rank < 3; ++rank) {
    ranks.push_back(std::make_unique<RankProcess>(rank, [&, rank] { return body(rank); }));
  }
  for (const auto& rank : ranks) {
    CHECK(rank->read_line() == "6000");
    CHECK(rank->wait() == "exit 0");
  }
}
