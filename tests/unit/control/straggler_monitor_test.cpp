#include <lightning/control/detail/straggler_monitor.h>

#include <catch2/catch.hpp>

using namespace lightning;
using namespace lightning::detail;
using Catch::Contains;
using namespace std::chrono_literals;

namespace {

struct Fixture {
  std::vector<RankRecord> ranks = {{"node0", {}}, {"node0", {}}, {"node1", {}}};
  ExchangeTable exchange{3};
  StragglerMonitor watch{3, 60s, 300s};
  Deadline start = Deadline::clock::now();

  std::optional<LateFinding> check(std::chrono::seconds at) {
    return watch.check(ranks, exchange, start + at);
  }
  /// A rank in (or past) a collective.
  void reach(size_t rank, uint64_t sequence, bool waiting) {
    ranks[rank].status.collective = "all_reduce";
    ranks[rank].status.phase = "backward";
    ranks[rank].status.sequence = sequence;
    ranks[rank].status.waiting = waiting;
  }
};

}  // namespace

TEST_CASE("StragglerMonitor: a rank missing in a collective is warned of once, then ends the run") {
  Fixture f;
  f.reach(0, 17, true);
  f.reach(1, 17, true);
  f.reach(2, 16, false);
  f.ranks[2].status.global_step = 4;
  CHECK_FALSE(f.check(0s));
  CHECK_FALSE(f.check(59s));
  const auto warning = f.check(60s);
  REQUIRE(warning);
  CHECK_FALSE(warning->end);
  CHECK(warning->failure.text ==
        "ranks 0, 1 have been waiting for 60 s in all_reduce #17 for rank 2 (node1), which is at "
        "step 4 in backward, last collective all_reduce #16");
  CHECK_FALSE(f.check(61s));
  CHECK_FALSE(f.check(299s));
  const auto end = f.check(300s);
  REQUIRE(end);
  CHECK(end->end);
  CHECK_THAT(end->failure.text,
             Contains("ranks 0, 1 waited for 300 s") && Contains("rank 2 (node1)"));
}

TEST_CASE("StragglerMonitor: ranks that wait in different collectives end the run at once") {
  Fixture f;
  f.reach(0, 17, true);
  f.reach(1, 16, false);
  f.reach(2, 17, true);
  f.ranks[2].status.collective = "barrier";
  CHECK_FALSE(f.check(0s));
  CHECK_FALSE(f.check(2s));
  const auto end = f.check(3s);
  REQUIRE(end);
  CHECK(end->end);
  CHECK_THAT(end->failure.text,
             Contains("rank 0 (node0) waits in all_reduce #17 and rank 2 (node1) in "
                      "barrier #17") &&
                 Contains("HINT"));

  // One of them has gone on, and only what it said last was old.
  Fixture late;
  late.reach(0, 17, true);
  late.reach(2, 17, true);
  late.ranks[2].status.collective = "barrier";
  CHECK_FALSE(late.check(0s));
  late.reach(0, 18, true);
  CHECK_FALSE(late.check(3s));
  CHECK_FALSE(late.check(6s));
}

TEST_CASE("StragglerMonitor: ranks that continue are never late") {
  Fixture f;
  for (int64_t i = 0; i < 100; ++i) {
    for (size_t rank = 0; rank < 3; ++rank) f.reach(rank, static_cast<uint64_t>(i), true);
    CHECK_FALSE(f.check(std::chrono::seconds(50 * i)));
  }
}

TEST_CASE("StragglerMonitor: a collective that all are in may hang as well") {
  Fixture f;
  for (size_t rank = 0; rank < 3; ++rank) f.reach(rank, 5, true);
  f.check(0s);
  CHECK_THAT(f.check(400s)->failure.text,
             Contains("ranks 0, 1, 2 waited") && Contains("every rank has entered it"));
}

TEST_CASE("StragglerMonitor: ranks missing in an exchange are named") {
  Fixture f;
  f.exchange.add(1, {ExchangeKind::kGather, 3, "log keys", ""});
  CHECK_FALSE(f.check(0s));
  const auto warning = f.check(70s);
  REQUIRE(warning);
  CHECK_THAT(warning->failure.text, Contains("rank 1 have been waiting") &&
                                        Contains("all_gather \"log keys\"") &&
                                        Contains("rank 0 (node0)") && Contains("and for rank 2"));
  f.exchange.add(0, {ExchangeKind::kGather, 3, "log keys", ""});
  f.exchange.add(2, {ExchangeKind::kGather, 3, "log keys", ""});
  f.exchange.take_result();
  CHECK_FALSE(f.check(500s));
  // The next exchange starts anew.
  f.exchange.add(1, {ExchangeKind::kGather, 4, "log keys", ""});
  CHECK_FALSE(f.check(501s));
  CHECK_FALSE(f.check(560s));
  CHECK(f.check(561s));
}

TEST_CASE("StragglerMonitor: no rank is late while one is in a long phase") {
  Fixture f;
  f.reach(0, 17, true);
  f.exchange.add(1, {ExchangeKind::kBarrier, 0, "x", ""});
  f.ranks[2].status.long_phase = true;
  for (int64_t at = 0; at < 2000; at += 10) CHECK_FALSE(f.check(std::chrono::seconds(at)));
  f.ranks[2].status.long_phase = false;
  CHECK_FALSE(f.check(2000s));
  CHECK_FALSE(f.check(2059s));
  CHECK(f.check(2060s));
}

TEST_CASE("StragglerMonitor: time in which no process could run doesn't count") {
  Fixture f;
  f.reach(0, 17, true);
  f.check(0s);
  f.watch.add_pause(1000s);
  CHECK_FALSE(f.check(1050s));
  CHECK(f.check(1060s));
}
