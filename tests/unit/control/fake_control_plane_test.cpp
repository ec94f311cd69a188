#include <catch2/catch.hpp>

#include <lightning/control/detail/fake_control_plane.h>

using lightning::ExchangeCounters;
using lightning::detail::FakeControlPlane;

TEST_CASE("a fake control plane answers as ranks would that all say the same") {
  FakeControlPlane plane(1024);
  CHECK(plane.rank() == 0);
  CHECK(plane.world_size() == 1024);
  CHECK(plane.hosts().size() == 1024);
  CHECK(plane.all_gather("names", "loss") == std::vector<std::string>(1024, "loss"));
  CHECK(plane.broadcast("folder", "runs/7") == "runs/7");
  plane.barrier("prepare_data");
  const ExchangeCounters counters = plane.exchange_counters();
  CHECK(counters.exchanges == 3);
  CHECK(counters.bytes == 4 + 6);
}

TEST_CASE("a fake control plane stops at the boundary after a request") {
  FakeControlPlane plane(4);
  CHECK_FALSE(plane.stop_at(1));
  CHECK_FALSE(plane.stop());
  plane.request_stop({.signal = 15, .rank = 0, .reason = "first"});
  plane.request_stop({.signal = 0, .rank = 0, .reason = "second"});
  CHECK_FALSE(plane.stop());  // not agreed on before a boundary
  CHECK(plane.stop_at(2));
  REQUIRE(plane.stop());
  CHECK(plane.stop()->signal == 15);
  CHECK(plane.stop()->reason == "first");
  plane.clear_stop();
  CHECK_FALSE(plane.stop());
  CHECK_FALSE(plane.stop_at(1));
}

TEST_CASE("a fake control plane never fails") {
  FakeControlPlane plane(4);
  bool called = false;
  plane.set_failure_handler([&](const lightning::Failure&) { called = true; });
  plane.fail("out of memory");
  CHECK_FALSE(plane.failed());
  CHECK(plane.failure().text.empty());
  CHECK_NOTHROW(plane.throw_if_failed());
  plane.barrier("after it");
  plane.leave();
  CHECK_FALSE(called);
}
