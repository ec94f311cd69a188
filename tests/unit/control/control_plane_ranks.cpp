#include "unit/control/control_plane_ranks.h"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include <algorithm>
#include <stdexcept>
#include <thread>

#include <lightning/control/detail/connect.h>
#include <lightning/util/error.h>

namespace lightning_tests {

using namespace lightning;

namespace {

int say_descriptor = -1;

}  // namespace

void expect(bool condition) {
  if (!condition) throw std::logic_error("an expectation isn't met");
}

Deadline guard() { return Deadline::clock::now() + kGuard; }

TestRun::TestRun(int64_t world, ControlPlaneOptions control)
    : world_size(world),
      options(std::move(control)),
      listener(Socket::listen("127.0.0.1", {0})),
      ports({listener.local_port()}) {}

Topology TestRun::topology(int64_t rank) const {
  Topology topology;
  topology.world_size = world_size;
  topology.local_world_size = world_size;
  topology.global_rank = rank;
  topology.local_rank = rank;
  topology.main_host = "127.0.0.1";
  topology.main_ports = ports;
  topology.run_id = run_id;
  return topology;
}

std::shared_ptr<ControlPlane> TestRun::connect(int64_t rank) {
  return detail::connect_control_plane(topology(rank), options,
                                       rank == 0 ? std::move(listener) : Socket());
}

std::vector<Outcome> run_threads(TestRun& run, const RankBody& body) {
  std::vector<Outcome> outcomes(static_cast<size_t>(run.world_size));
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < run.world_size; ++rank) {
    threads.emplace_back([&run, &body, rank, &outcome = outcomes[static_cast<size_t>(rank)]] {
      try {
        outcome.result = body(*run.connect(rank));
      } catch (const std::exception& error) {
        outcome.error = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return outcomes;
}

void check_all_meet(TestRun& run) {
  const auto outcomes = run_threads(run, [](ControlPlane& plane) {
    plane.barrier("met");
    plane.leave();
    return std::string("met");
  });
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.error == "");
    CHECK(outcome.result == "met");
  }
}

RankProcess::RankProcess(TestRun& run, int64_t rank, const RankBody& body)
    : RankProcess(rank, [&] {
        if (rank != 0) run.listener = Socket();  // which ends with rank 0
        return body(*run.connect(rank));
      }) {}

RankProcess::RankProcess(int64_t rank, const std::function<std::string()>& body) : rank_(rank) {
  auto [read_end, write_end] = Socket::pair();
  pid_ = ::fork();
  REQUIRE(pid_ >= 0);
  if (pid_ > 0) {
    pipe_ = std::move(read_end);
    return;
  }
  read_end = Socket();
  say_descriptor = write_end.descriptor();
  int status = 1;
  try {
    say(body());
    status = 0;
  } catch (const std::exception& error) {
    say(error.what());
  }
  ::_exit(status);
}

RankProcess::~RankProcess() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void RankProcess::kill(int signal) const { ::kill(pid_, signal); }

std::string RankProcess::read_line() {
  while (true) {
    const size_t end = buffer_.find('\n');
    if (end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    buffer_ += pipe_.receive(1, guard());
  }
}

std::string RankProcess::wait() {
  const Deadline end = guard();
  int status = 0;
  while (::waitpid(pid_, &status, WNOHANG) == 0) {
    if (Deadline::clock::now() >= end) return "running";
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  pid_ = -1;
  return WIFSIGNALED(status) ? detail::concat("signal ", WTERMSIG(status))
                             : detail::concat("exit ", WEXITSTATUS(status));
}

std::string RankProcess::rest() {
  try {
    while (true) buffer_ += pipe_.receive(1, guard());
  } catch (const DistributedError&) {
    return buffer_;
  }
}

int RankProcess::descriptor() { return say_descriptor; }

void RankProcess::say(const std::string& line) {
  Socket socket(say_descriptor);
  socket.send_all(line + "\n", guard());
  socket.release();
}

std::vector<std::unique_ptr<RankProcess>> start_processes(TestRun& run, const RankBody& body) {
  std::vector<std::unique_ptr<RankProcess>> ranks;
  for (int64_t rank = 0; rank < run.world_size; ++rank) {
    ranks.push_back(std::make_unique<RankProcess>(run, rank, body));
  }
  run.listener = Socket();
  return ranks;
}

}  // namespace lightning_tests
