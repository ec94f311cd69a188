// Ranks that die, freeze, hang or come late: the others end, and say who it was.
#include <sys/resource.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <csignal>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

#include <lightning/control/control_plane.h>
#include <lightning/util/error.h>
#include <lightning/util/exit_codes.h>
#include <lightning/util/log.h>

#include "unit/control/control_plane_ranks.h"
#include "unit/control/simulated_rank.h"

using namespace lightning;
using namespace lightning_tests;
using Catch::Contains;
using lightning::detail::MessageType;
using namespace std::chrono_literals;

namespace {

/// Says "ready" once its status is known to all, then waits for others that never come
/// (rank `quiet`) or for a failure.
std::string wait_in_barrier(ControlPlane& plane, int64_t quiet) {
  RankStatus status;
  status.global_step = 40 + plane.rank();
  status.phase = "validation_step";
  plane.set_status(status);
  plane.barrier("ready");
  RankProcess::say("ready");
  while (plane.rank() == quiet && !plane.failed()) std::this_thread::sleep_for(5ms);
  plane.barrier("never");
  return "went on";
}

ControlPlaneOptions quick_heartbeat(std::chrono::milliseconds timeout) {
  ControlPlaneOptions options;
  options.heartbeat_timeout = timeout;
  return options;
}

void wait_until_ready(const std::vector<std::unique_ptr<RankProcess>>& ranks) {
  for (const auto& rank : ranks) REQUIRE(rank->read_line() == "ready");
}

struct LogCapture {
  LogCapture() {
    previous = set_log_sink([this](std::string_view line) {
      const std::lock_guard lock(mutex);
      text += std::string(line) + "\n";
    });
  }
  ~LogCapture() { set_log_sink(previous); }
  std::string all() {
    const std::lock_guard lock(mutex);
    return text;
  }
  std::mutex mutex;
  std::string text;
  LogSink previous;
};

/// Waits for the failure like a main thread that is stuck in something that can't be freed.
[[noreturn]] void get_stuck() {
  while (true) std::this_thread::sleep_for(1s);
}

}  // namespace

TEST_CASE("ControlPlane: the others learn at once which rank was killed", "[process]") {
  const int64_t victim = GENERATE(0, 1, 2);
  TestRun run(3, quick_heartbeat(2s));
  const auto ranks =
      start_processes(run, [&](ControlPlane& plane) { return wait_in_barrier(plane, victim); });
  wait_until_ready(ranks);
  ranks[static_cast<size_t>(victim)]->kill(SIGKILL);
  for (const auto& rank : ranks) {
    if (rank->rank() == victim) {
      CHECK(rank->wait() == "signal 9");
      continue;
    }
    CHECK_THAT(rank->read_line(),
               Contains(detail::concat("rank ", victim, " (")) && Contains(") exited") &&
                   Contains(detail::concat("step ", 40 + victim, " in validation_step")));
    CHECK(rank->wait() == "exit 1");
  }
}

TEST_CASE("ControlPlane: a process that ends without leave() counts as dead", "[process]") {
  const int64_t victim = GENERATE(0, 1);
  TestRun run(2);
  const auto ranks = start_processes(run, [&](ControlPlane& plane) {
    plane.barrier("start");
    if (plane.rank() == victim) ::_exit(0);
    plane.barrier("end");
    return std::string("went on");
  });
  for (const auto& rank : ranks) {
    if (rank->rank() == victim) {
      CHECK(rank->wait() == "exit 0");
    } else {
      CHECK_THAT(rank->read_line(),
                 Contains(detail::concat("rank ", victim, " (")) && Contains("exited"));
      CHECK(rank->wait() == "exit 1");
    }
  }
}

TEST_CASE("ControlPlane: a frozen rank ends the others, and itself when it wakes up", "[process]") {
  const int64_t victim = GENERATE(0, 1, 2);
  TestRun run(3, quick_heartbeat(2s));
  const auto ranks =
      start_processes(run, [&](ControlPlane& plane) { return wait_in_barrier(plane, victim); });
  wait_until_ready(ranks);
  ranks[static_cast<size_t>(victim)]->kill(SIGSTOP);
  const auto check_text = [&](RankProcess& rank) {
    CHECK_THAT(rank.read_line(), Contains(detail::concat("rank ", victim, " (")) &&
                                     Contains("not responding") && Contains("for 2 s") &&
                                     Contains(detail::concat("step ", 40 + victim)));
    CHECK(rank.wait() == "exit 1");
  };
  for (const auto& rank : ranks) {
    if (rank->rank() != victim) check_text(*rank);
  }
  ranks[static_cast<size_t>(victim)]->kill(SIGCONT);
  check_text(*ranks[static_cast<size_t>(victim)]);
}

TEST_CASE("ControlPlane: suspending and continuing all ranks changes nothing", "[process]") {
  TestRun run(3, quick_heartbeat(2s));
  run.options.collective_timeout = 4s;
  const auto ranks = start_processes(run, [](ControlPlane& plane) {
    plane.barrier("start");
    RankProcess::say("ready");
    if (plane.rank() == 1) std::this_thread::sleep_for(500ms);
    plane.barrier("end");
    plane.leave();
    return std::string("all is well");
  });
  wait_until_ready(ranks);
  for (const auto& rank : ranks) rank->kill(SIGSTOP);
  std::this_thread::sleep_for(4500ms);
  for (const auto& rank : ranks) rank->kill(SIGCONT);
  for (const auto& rank : ranks) {
    CHECK(rank->read_line() == "all is well");
    CHECK(rank->wait() == "exit 0");
  }
}

TEST_CASE("ControlPlane: the watchdog ends a process whose main thread is stuck", "[process]") {
  const bool stuck_handler = GENERATE(false, true);
  TestRun run(2);
  run.options.grace = 200ms;
  const auto ranks = start_processes(run, [&](ControlPlane& plane) {
    ::dup2(RankProcess::descriptor(), STDERR_FILENO);
    plane.set_abort_handler([] { RankProcess::say("last words"); });
    if (stuck_handler) plane.set_failure_handler([](const lightning::Failure&) { get_stuck(); });
    plane.barrier("start");
    if (plane.rank() == 1) plane.fail("the cause");
    get_stuck();
    return std::string();
  });
  for (const auto& rank : ranks) {
    CHECK(rank->wait() == detail::concat("exit ", kHungExitCode));
    CHECK_THAT(rank->rest(), Contains("last words") && Contains("rank 1 (") &&
                                 Contains("the cause") && Contains("status 70"));
  }
}

TEST_CASE("ControlPlane: last words that never end don't keep the process", "[process]") {
  TestRun run(1);
  run.options.grace = 50ms;
  RankProcess rank(run, 0, [](ControlPlane& plane) {
    plane.set_abort_handler([] { get_stuck(); });
    plane.fail("the cause");
    get_stuck();
    return std::string();
  });
  CHECK(rank.wait() == detail::concat("exit ", kHungExitCode));
}

TEST_CASE("ControlPlane: a main thread that got away is left in peace", "[process]") {
  TestRun run(2);
  run.options.grace = 2s;
  const auto ranks = start_processes(run, [](ControlPlane& plane) {
    if (plane.rank() == 1) plane.fail("the cause");
    try {
      plane.barrier("end");
    } catch (const DistributedError&) {
      plane.leave();
    }
    std::this_thread::sleep_for(3s);
    return std::string("ended by itself");
  });
  for (const auto& rank : ranks) {
    CHECK(rank->read_line() == "ended by itself");
    CHECK(rank->wait() == "exit 0");
  }
}

TEST_CASE("ControlPlane: a late rank is warned of, then ends the run", "[process]") {
  TestRun run(3);
  run.options.late_warning = 100ms;
  run.options.collective_timeout = 500ms;
  LogCapture log;
  const bool in_collective = GENERATE(false, true);
  const auto outcomes = run_threads(run, [&](ControlPlane& plane) {
    plane.barrier("start");
    RankStatus status;
    status.global_step = 3;
    status.phase = plane.rank() == 1 ? "on_train_batch_end" : "backward";
    status.collective = "all_reduce";
    status.sequence = plane.rank() == 1 ? 8 : 9;
    status.waiting = in_collective && plane.rank() != 1;
    plane.set_status(status);
    if (!in_collective && plane.rank() != 1) plane.barrier("end");
    while (true) {
      plane.throw_if_failed();
      std::this_thread::sleep_for(5ms);
    }
    return std::string();
  });
  const std::string place = in_collective ? "all_reduce #9" : "barrier \"end\"";
  for (const Outcome& outcome : outcomes) {
    CHECK_THAT(outcome.error, Contains("waited for 0.5 s in " + place) && Contains("rank 1 (") &&
                                  Contains("step 3 in on_train_batch_end"));
  }
  CHECK_THAT(log.all(), Contains("warning: control plane: ") &&
                            Contains("have been waiting for 0.1 s in " + place));
}

TEST_CASE("ControlPlane: no rank is late during a long phase") {
  TestRun run(2);
  run.options.late_warning = 500ms;
  run.options.collective_timeout = 500ms;
  const auto outcomes = run_threads(run, [](ControlPlane& plane) {
    RankStatus status;
    status.phase = "prepare_data";
    status.long_phase = plane.rank() == 1;
    plane.set_status(status);
    plane.barrier("start");
    if (plane.rank() == 1) std::this_thread::sleep_for(1500ms);
    plane.barrier("prepared");
    plane.leave();
    return std::string("prepared");
  });
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.error == "");
    CHECK(outcome.result == "prepared");
  }
}

TEST_CASE("ControlPlane: a death explains a failure that another rank reports first", "[process]") {
  TestRun run(3);
  RankProcess hub(run, 0, [](ControlPlane& plane) {
    RankProcess::say("ready");
    plane.barrier("end");
    return std::string();
  });
  run.listener = Socket();
  std::vector<std::unique_ptr<SimulatedRank>> others;
  for (int64_t rank = 1; rank < 3; ++rank) {
    others.push_back(std::make_unique<SimulatedRank>(run.ports.front(), hello_of(run, rank)));
    REQUIRE(others.back()->next()->type == MessageType::kAccept);
    others.back()->confirm();
  }
  REQUIRE(hub.read_line() == "ready");
  // The hub finds both when it continues.
  hub.kill(SIGSTOP);
  const detail::FailureReport report{
      false, {lightning::FailureKind::kThrew, 1, "Connection reset by peer"}, {}};
  others[0]->send(MessageType::kFail, report.encode());
  others[1].reset();
  hub.kill(SIGCONT);
  CHECK_THAT(hub.read_line(), Contains("rank 2 (simulated) exited"));
}

TEST_CASE("ControlPlane: rank 0 of very many raises its limit of open files", "[process]") {
  rlimit allowed = {};
  ::getrlimit(RLIMIT_NOFILE, &allowed);
  RankProcess rank(0, [&] {
    rlimit limit = allowed;
    limit.rlim_cur = 256;
    expect(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
    std::thread([] {
      TestRun run(1024);
      run.connect(0);
    }).detach();
    const Deadline end = guard();
    while (limit.rlim_cur == 256 && Deadline::clock::now() < end) {
      std::this_thread::sleep_for(1ms);
      ::getrlimit(RLIMIT_NOFILE, &limit);
    }
    return std::to_string(limit.rlim_cur);
  });
  CHECK(rank.read_line() == std::to_string(allowed.rlim_max));
}

TEST_CASE("ControlPlane: a thousand ranks exchange, stop and leave together") {
  constexpr int64_t kRanks = 1024;
  TestRun run(kRanks);
  std::promise<void> agreed;
  std::future<int64_t> hub_rank = std::async(std::launch::async, [&] {
    const auto plane = run.connect(0);
    expect(plane->all_gather("ranks", "0").size() == kRanks);
    expect(!plane->stop_at(7));
    plane->request_stop({10, 0, "time is up"});
    expect(agreed.get_future().wait_for(kGuard) == std::future_status::ready);
    int64_t boundary = 8;
    while (!plane->stop_at(boundary)) ++boundary;
    plane->clear_stop();
    plane->leave();
    return boundary;
  });
  std::vector<std::unique_ptr<SimulatedRank>> ranks;
  raise_descriptor_limit();
  for (int64_t rank = 1; rank < kRanks; ++rank) {
    ranks.push_back(std::make_unique<SimulatedRank>(run.ports.front(), hello_of(run, rank)));
  }
  const auto all_get = [&](MessageType type) {
    for (auto& rank : ranks) {
      const auto message = rank->next();
      REQUIRE(message);
      REQUIRE(message->type == type);
    }
  };
  uint64_t sequence = 0;
  const auto all_send = [&](detail::ExchangeKind kind, const std::string& name) {
    detail::ExchangePart part;
    part.kind = kind;
    part.sequence = sequence++;
    part.name = name;
    for (auto& rank : ranks) rank->send(MessageType::kExchange, part.encode());
    all_get(MessageType::kResult);
  };
  all_get(MessageType::kAccept);
  for (auto& rank : ranks) rank->confirm();
  all_get(MessageType::kWelcome);
  all_send(detail::ExchangeKind::kGather, "ranks");
  all_get(MessageType::kPrepare);
  for (size_t i = 0; i < ranks.size(); ++i) {
    const detail::Publication answer{0, static_cast<int64_t>(i % 50)};
    ranks[i]->send(MessageType::kPublish, answer.encode());
  }
  for (auto& rank : ranks) {
    const auto order = detail::StopOrder::decode(rank->next()->body);
    REQUIRE(order.boundary == 50);
    REQUIRE(order.request.reason == "time is up");
  }
  agreed.set_value();
  all_send(detail::ExchangeKind::kClearStop, "");
  all_send(detail::ExchangeKind::kLeave, "");
  ranks.clear();
  CHECK(hub_rank.get() == 50);
}
