// All ranks stop at the same boundary, whichever rank asks, and whenever.
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <thread>

#include <catch2/catch.hpp>

#include <lightning/control/control_plane.h>
#include <lightning/control/detail/connect.h>
#include <lightning/util/error.h>

#include "unit/control/control_plane_ranks.h"

using namespace lightning;
using namespace lightning_tests;
using Catch::Contains;
using namespace std::chrono_literals;

namespace {

/// A step of 0 to 50 us.
void work(std::mt19937& generator) {
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::microseconds(std::uniform_int_distribution<>(0, 50)(generator));
  while (std::chrono::steady_clock::now() < end) {
  }
}

/// Trains until a stop; returns its boundary. A rank that passes the agreed one throws in
/// stop_at().
int64_t train(ControlPlane& plane, std::mt19937& generator, bool empty_steps, int64_t request_at) {
  for (int64_t boundary = 0;; ++boundary) {
    if (!empty_steps) work(generator);
    if (boundary == request_at) {
      plane.request_stop({0, 0, detail::concat("rank ", plane.rank())});
    }
    if (plane.stop_at(boundary)) return boundary;
  }
}

/// One or more ranks ask, at a random step each or from another thread at a random time; all ranks
/// draw the same askers.
std::string stop_many_times(ControlPlane& plane, int rounds, unsigned seed) {
  std::mt19937 shared(seed);
  std::mt19937 own(seed + 1000U * static_cast<unsigned>(plane.rank() + 1));
  for (int round = 0; round < rounds; ++round) {
    std::uniform_int_distribution<int64_t> any_rank(0, plane.world_size() - 1);
    const int64_t first = any_rank(shared);
    const int64_t second = any_rank(shared);
    const bool two = round % 3 == 0;
    const bool from_thread = round % 5 == 0;
    const bool asks = plane.rank() == first || (two && plane.rank() == second);
    std::thread asker;
    if (asks && from_thread) {
      asker = std::thread([&plane, delay = own() % 3000] {
        std::this_thread::sleep_for(std::chrono::microseconds(delay));
        plane.request_stop({15, 0, detail::concat("rank ", plane.rank())});
      });
    }
    const int64_t request_at = asks && !from_thread ? static_cast<int64_t>(own() % 40) : -1;
    const bool empty_steps = round % 4 == 1;
    const int64_t stopped = train(plane, own, empty_steps, request_at);
    if (asker.joinable()) asker.join();

    const std::string mine = detail::concat(stopped, " ", plane.stop()->reason, " ",
                                            plane.stop()->rank, " ", plane.stop()->signal);
    for (const std::string& other : plane.all_gather("where", mine)) expect(other == mine);
    expect(plane.stop()->rank == first || (two && plane.stop()->rank == second));
    expect(plane.stop_at(stopped + 1));  // still stopping
    plane.clear_stop();
    expect(!plane.stop());
    expect(!plane.failed());
  }
  plane.leave();
  return "same everywhere";
}

}  // namespace

TEST_CASE("ControlPlane: threads of a run stop at the same boundary, 300 times") {
  const int64_t world_size = GENERATE(2, 4);
  TestRun run(world_size);
  const auto outcomes =
      run_threads(run, [](ControlPlane& plane) { return stop_many_times(plane, 150, 17); });
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.error == "");
    CHECK(outcome.result == "same everywhere");
  }
}

TEST_CASE("ControlPlane: a rank in the middle of a step can ask for a stop by a descriptor") {
  TestRun run(2);
  std::atomic<int64_t> stopped_at = -1;
  std::atomic<int> calls = 0;
  const auto outcomes = run_threads(run, [&](ControlPlane& plane) {
    int64_t boundary = 0;
    if (plane.rank() == 0) {
      while (!plane.stop_at(boundary)) ++boundary;
      stopped_at = boundary;
    } else {
      const int event = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
      plane.on_readable(event, [&] {
        ++calls;
        plane.request_stop({.signal = 10, .rank = 0, .reason = "by descriptor"});
      });
      expect(!plane.stop_at(boundary));
      ::eventfd_write(event, 1);
      // Its step lasts until the other rank has stopped.
      const auto guard = std::chrono::steady_clock::now() + 60s;
      while (stopped_at < 0 && std::chrono::steady_clock::now() < guard) {
        std::this_thread::yield();
      }
      while (!plane.stop_at(boundary)) ++boundary;
      plane.on_readable(-1, {});
      ::eventfd_write(event, 1);
      plane.barrier("the control thread has come by");
      expect(calls == 1);
      ::close(event);
    }
    if (plane.rank() == 0) plane.barrier("the control thread has come by");
    expect(boundary == stopped_at);
    expect(plane.stop()->rank == 1 && plane.stop()->signal == 10);
    plane.leave();
    return std::string("same");
  });
  for (const Outcome& outcome : outcomes) CHECK(outcome.result + outcome.error == "same");
}

TEST_CASE("ControlPlane: processes of a run stop at the same boundary, 300 times", "[process]") {
  const int64_t world_size = GENERATE(3, 5);
  TestRun run(world_size);
  const auto ranks =
      start_processes(run, [](ControlPlane& plane) { return stop_many_times(plane, 150, 23); });
  for (const auto& rank : ranks) {
    CHECK(rank->read_line() == "same everywhere");
    CHECK(rank->wait() == "exit 0");
  }
}

TEST_CASE("ControlPlane: a rank whose steps take nanoseconds doesn't pass the agreed boundary") {
  // Alone, so that no faster rank's boundary hides a wrong one.
  const auto plane = detail::connect_control_plane(Topology{}, {});
  for (int round = 0; round < 1000; ++round) {
    plane->request_stop({0, 0, "enough"});
    int64_t boundary = 0;
    while (!plane->stop_at(boundary)) ++boundary;
    plane->clear_stop();
  }
  CHECK_FALSE(plane->failed());
  plane->leave();
}

TEST_CASE("ControlPlane: before the first boundary a request stops all at it") {
  TestRun run(3);
  const auto outcomes = run_threads(run, [](ControlPlane& plane) {
    if (plane.rank() == 1) plane.request_stop({0, 0, "at once"});
    plane.barrier("asked");  // the request was sent before
    const int64_t first = 1000;
    const std::string result = plane.stop_at(first) ? "stopped" : "went on";
    plane.leave();
    return result;
  });
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.error == "");
    CHECK(outcome.result == "stopped");
  }
}

TEST_CASE("ControlPlane: a rank that waits for others agrees on a stop meanwhile") {
  TestRun run(3);
  const auto outcomes = run_threads(run, [](ControlPlane& plane) {
    std::string result = "no stop";
    if (plane.rank() == 0) {
      // The others are in the exchange: their control threads answer for them.
      expect(!plane.stop_at(0));
      plane.request_stop({0, 0, "late"});
      const Deadline end = guard();
      for (int64_t boundary = 1; result == "no stop" && Deadline::clock::now() < end; ++boundary) {
        if (plane.stop_at(boundary)) result = "stopped";
      }
    } else {
      expect(!plane.stop_at(0));
    }
    plane.barrier("end of fit");
    plane.clear_stop();
    plane.leave();
    return result;
  });
  for (const Outcome& outcome : outcomes) CHECK(outcome.error == "");
  CHECK(outcomes[0].result == "stopped");
  CHECK(outcomes[1].result == "no stop");
}

TEST_CASE("ControlPlane: a rank that fails while others agree frees them") {
  TestRun run(3);
  const auto outcomes = run_threads(run, [](ControlPlane& plane) {
    if (plane.rank() == 2) plane.fail("broken");
    if (plane.rank() == 0) plane.request_stop({0, 0, "enough"});
    for (int64_t boundary = 0;; ++boundary) plane.stop_at(boundary);
    return std::string();
  });
  for (const Outcome& outcome : outcomes) CHECK_THAT(outcome.error, Contains("broken"));
}

TEST_CASE("ControlPlane: a boundary past the agreed one is a failure") {
  const auto plane = detail::connect_control_plane(Topology{}, {});
  CHECK_FALSE(plane->stop_at(0));
  plane->request_stop({0, 0, "enough"});
  // After the second exchange the agreement that began before the first is known.
  plane->barrier("one");
  plane->barrier("two");
  CHECK_THROWS_WITH(plane->stop_at(2), Contains("boundary 2, past 1"));
  CHECK(plane->failed());
}
