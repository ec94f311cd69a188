#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#undef CHECK  // c10's; Catch has one as well
#include <catch2/catch.hpp>

#include <lightning/control/control_plane.h>

#include "unit/control/control_plane_ranks.h"

using namespace lightning;
using namespace lightning_tests;

TEST_CASE("ControlPlane: clients pass over a TCPStore that is on the port") {
  c10d::TCPStoreOptions options;
  options.isServer = true;
  options.port = 0;
  options.waitWorkers = false;
  const auto store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  store->set("key", std::vector<uint8_t>{1, 2, 3});

  TestRun run(3);
  run.ports.insert(run.ports.begin(), store->getPort());
  check_all_meet(run);
  const std::vector<uint8_t> value = {1, 2, 3};
  CHECK(store->get("key") == value);
}
