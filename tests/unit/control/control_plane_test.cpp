#include <lightning/control/control_plane.h>

#include <catch2/catch.hpp>

#include <atomic>
#include <mutex>
#include <thread>

#include <lightning/control/detail/connect.h>
#include <lightning/util/error.h>

#include "unit/control/control_plane_ranks.h"

using namespace lightning;
using namespace lightning_tests;
using Catch::Contains;
using namespace std::chrono_literals;

namespace {

std::string join(const std::vector<std::string>& texts) {
  std::string joined;
  for (const std::string& text : texts) joined += text + ",";
  return joined;
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const DistributedError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("ControlPlane: all_gather returns the payloads by rank") {
  TestRun run(4);
  const auto outcomes = run_threads(run, [](ControlPlane& plane) {
    expect(plane.world_size() == 4);
    std::string texts = join(plane.all_gather("names", detail::concat("r", plane.rank())));
    const ExchangeCounters counters = plane.exchange_counters();
    expect(counters.exchanges == 1 && counters.bytes == 2);
    plane.leave();
    return texts;
  });
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.error == "");
    CHECK(outcome.result == "r0,r1,r2,r3,");
  }
}

TEST_CASE("ControlPlane: exchanges follow one another") {
  TestRun run(3);
  const auto outcomes = run_threads(run, [](ControlPlane& plane) {
    int64_t sum = 0;
    for (int64_t round = 0; round < 200; ++round) {
      for (const std::string& text :
           plane.all_gather("round", std::to_string(round * (plane.rank() + 1)))) {
        sum += std::stoll(text);
      }
      if (round % 10 == 0) plane.barrier("ten");
      const std::string mine = plane.rank() == 0 ? std::to_string(round) : "not sent";
      if (plane.broadcast("number", mine) != std::to_string(round)) return std::string("wrong");
    }
    plane.leave();
    return std::to_string(sum);
  });
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.error == "");
    CHECK(outcome.result == std::to_string(6 * 199 * 200 / 2));
  }
}

TEST_CASE("ControlPlane: payloads of 5 MB and empty ones arrive whole") {
  TestRun run(3);
  const auto outcomes = run_threads(run, [](ControlPlane& plane) {
    std::string big(5'000'000, '\0');
    for (size_t i = 0; i < big.size(); ++i) {
      big[i] = static_cast<char>(i * 7 + static_cast<size_t>(plane.rank()));
    }
    const auto all = plane.all_gather("big", plane.rank() == 1 ? "" : big);
    std::string result = all.at(static_cast<size_t>(plane.rank())) == (plane.rank() == 1 ? "" : big)
                             ? "same"
                             : "differs";
    for (const std::string& text : all) result += detail::concat(" ", text.size());
    plane.leave();
    return result;
  });
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.error == "");
    CHECK(outcome.result == "same 5000000 0 5000000");
  }
}

TEST_CASE("ControlPlane: one rank needs no listener") {
  const auto plane = detail::connect_control_plane(Topology{}, {});
  CHECK(plane->all_gather("x", "a") == std::vector<std::string>{"a"});
  CHECK(plane->hosts().size() == 1);
  plane->request_stop({0, 0, "enough"});
  int64_t boundary = 5;
  while (!plane->stop_at(boundary)) ++boundary;
  CHECK(plane->stop()->reason == "enough");
  plane->leave();
}

TEST_CASE("ControlPlane: ranks at different exchanges fail, and are named") {
  TestRun run(3);
  const auto outcomes = run_threads(run, [](ControlPlane& plane) {
    if (plane.rank() == 1) {
      plane.barrier("validation");
    } else {
      plane.all_gather("log keys", "loss");
    }
    return std::string("went on");
  });
  for (const Outcome& outcome : outcomes) {
    CHECK_THAT(outcome.error, Contains("different exchanges"));
    CHECK_THAT(outcome.error, Contains("all_gather \"log keys\""));
    CHECK_THAT(outcome.error, Contains("barrier \"validation\""));
    CHECK_THAT(outcome.error, Contains("rank 1") || Contains("rank 0") || Contains("ranks 0, 2"));
  }
}

TEST_CASE("ControlPlane: a rank that fails ends the others with its text") {
  TestRun run(3);
  std::atomic<int> handlers = 0;
  const auto outcomes = run_threads(run, [&](ControlPlane& plane) {
    plane.set_failure_handler([&](const lightning::Failure&) { ++handlers; });
    plane.barrier("start");
    if (plane.rank() == 2) {
      RankStatus status;
      status.global_step = 17;
      status.phase = "training_step";
      status.collective = "all_reduce";
      status.sequence = 123;
      plane.set_status(status);
      plane.fail("out of cheese");
      expect(plane.failed());
    }
    try {
      plane.barrier("end");
    } catch (const DistributedError&) {
      expect(error_of([&] { plane.throw_if_failed(); }) == plane.failure().text);
      expect(error_of([&] { plane.stop_at(1); }) == plane.failure().text);
      plane.leave();
      throw;
    }
    return std::string("went on");
  });
  for (const Outcome& outcome : outcomes) {
    CHECK_THAT(outcome.error, Contains("rank 2 (") &&
                                  Contains(") failed at step 17 in training_step, last collective "
                                           "all_reduce #123: out of cheese"));
  }
  CHECK(handlers == 3);
}

TEST_CASE("ControlPlane: kind and rank of a failure reach the exceptions of all ranks") {
  const auto kind = GENERATE(FailureKind::kLeaseLost, FailureKind::kDisagreement);
  TestRun run(3);
  const auto outcomes = run_threads(run, [kind](ControlPlane& plane) {
    plane.barrier("start");
    std::string next = "end";
    if (plane.rank() == 1) {
      next = "elsewhere";
      if (kind == FailureKind::kLeaseLost) plane.fail("another job has the folder", kind);
    }
    try {
      plane.barrier(next);
    } catch (const DistributedError& error) {
      const lightning::Failure failure = error.failure();
      expect(failure.kind == kind && plane.failure().kind == kind);
      expect(failure.text == error.what() && failure.rank == plane.failure().rank);
      expect(kind != FailureKind::kLeaseLost || failure.rank == 1);
      plane.leave();
      return std::string("told");
    }
    return std::string("went on");
  });
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.result == "told");
    CHECK(outcome.error == "");
  }
}

TEST_CASE("ControlPlane: a failure handler that comes late is called as well") {
  TestRun run(2);
  std::atomic<int> handlers = 0;
  const auto outcomes = run_threads(run, [&](ControlPlane& plane) {
    if (plane.rank() == 1) plane.fail("no");
    while (!plane.failed()) std::this_thread::yield();
    const int before = handlers;
    plane.set_failure_handler([&](const lightning::Failure& failure) {
      if (failure.text.find(": no") != std::string::npos) ++handlers;
    });
    while (handlers == before) std::this_thread::yield();
    plane.leave();
    return std::string();
  });
  for (const Outcome& outcome : outcomes) CHECK(outcome.error == "");
  CHECK(handlers == 2);
}

TEST_CASE("ControlPlane: after leave() nothing can be exchanged") {
  TestRun run(2);
  const auto outcomes = run_threads(run, [](ControlPlane& plane) {
    plane.leave();
    plane.leave();
    expect(!plane.failed());
    return error_of([&] { plane.barrier("too late"); });
  });
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.error == "");
    CHECK_THAT(outcome.result, Contains("too late") && Contains("after leave()"));
  }
}

TEST_CASE("ControlPlane: leaving while others exchange is a failure") {
  TestRun run(2);
  const auto outcomes = run_threads(run, [](ControlPlane& plane) {
    if (plane.rank() == 0) {
      plane.leave();
    } else {
      plane.barrier("last");
    }
    return std::string("went on");
  });
  for (const Outcome& outcome : outcomes) {
    CHECK_THAT(outcome.error, Contains("leave") && Contains("barrier \"last\""));
  }
}
