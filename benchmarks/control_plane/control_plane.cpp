// What the control plane costs, with real hub and simulated ranks on one machine:
//   control_plane [repeats]
// prints a table of medians for 2, 64 and 1024 ranks.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <lightning/control/control_plane.h>
#include <lightning/control/detail/connect.h>
#include <lightning/util/error.h>

#include "simulated_ranks.h"

namespace benchmark_control_plane {
namespace {

using namespace lightning;

constexpr int64_t kRounds = 20;
constexpr int64_t kBoundaries = 5'000'000;
constexpr std::chrono::seconds kIdle{3};

struct Times {
  double start_ms = 0;       // until all ranks have met
  double stop_at_ns = 0;     // per call
  double gather_us = 0;      // all_gather of 16 bytes, the others being there
  double agree_us = 0;       // from a request to stop_at() returning true
  double cpu_percent = 0;    // of one core: hub and control thread, ranks idle
  double death_here_us = 0;  // from a rank's death to rank 0's failure handler
  double death_all_ms = 0;   // until all were notified of it
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double cpu_seconds() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double time_boundaries(ControlPlane& plane) {
  const int64_t begin = nanoseconds();
  for (int64_t boundary = 0; boundary < kBoundaries; ++boundary) plane.stop_at(boundary);
  return static_cast<double>(nanoseconds() - begin) / static_cast<double>(kBoundaries);
}

void time_rounds(ControlPlane& plane, Times& times) {
  std::vector<double> gather;
  std::vector<double> agree;
  for (int64_t round = 0; round < kRounds; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the others are there
    const int64_t begin = nanoseconds();
    plane.all_gather("round", "sixteen bytes!!!");
    gather.push_back(static_cast<double>(nanoseconds() - begin) * 1e-3);

    plane.stop_at(0);
    const int64_t asked = nanoseconds();
    plane.request_stop({0, 0, "benchmark"});
    int64_t boundary = 0;
    while (!plane.stop_at(boundary)) ++boundary;
    agree.push_back(static_cast<double>(nanoseconds() - asked) * 1e-3);
    plane.clear_stop();
  }
  times.gather_us = median(gather);
  times.agree_us = median(agree);
}

void time_death(ControlPlane& plane, Shared& shared, Times& times) {
  std::atomic<int64_t> known_at = 0;
  plane.set_failure_handler([&](const lightning::Failure&) { known_at = nanoseconds(); });
  shared.die = true;
  while (known_at == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  while (shared.all_know_at == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  times.death_here_us = static_cast<double>(known_at - shared.died_at) * 1e-3;
  times.death_all_ms = static_cast<double>(shared.all_know_at - shared.died_at) * 1e-6;
  plane.leave();
}

Times measure(int64_t world_size) {
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  LIGHTNING_CHECK(memory != MAP_FAILED, Error, "benchmark: no shared memory.");
  Shared& shared = *new (memory) Shared;
  Socket listener = Socket::listen("127.0.0.1", {0});
  Topology topology;
  topology.world_size = world_size;
  topology.main_ports = {listener.local_port()};
  topology.run_id = "benchmark";
  const pid_t others = start_simulated_ranks(topology, kRounds, shared);

  Times times;
  const int64_t begin = nanoseconds();
  const auto plane = detail::connect_control_plane(topology, {}, std::move(listener));
  times.start_ms = static_cast<double>(nanoseconds() - begin) * 1e-6;
  times.stop_at_ns = time_boundaries(*plane);
  time_rounds(*plane, times);
  const double cpu = cpu_seconds();
  std::this_thread::sleep_for(kIdle);
  times.cpu_percent = 100.0 * (cpu_seconds() - cpu) / static_cast<double>(kIdle.count());
  time_death(*plane, shared, times);
  ::waitpid(others, nullptr, 0);
  ::munmap(memory, sizeof(Shared));
  return times;
}

void print_median(int64_t world_size, const std::vector<Times>& all) {
  const auto of = [&](double Times::*member) {
    std::vector<double> values;
    for (const Times& times : all) values.push_back(times.*member);
    return median(values);
  };
  std::printf("| %ld | %.1f | %.1f | %.0f | %.0f | %.2f | %.0f | %.2f |\n",
              static_cast<long>(world_size), of(&Times::start_ms), of(&Times::stop_at_ns),
              of(&Times::gather_us), of(&Times::agree_us), of(&Times::cpu_percent),
              of(&Times::death_here_us), of(&Times::death_all_ms));
  std::fflush(stdout);
}

}  // namespace
}  // namespace benchmark_control_plane

int main(int argc, char** argv) {
  using namespace benchmark_control_plane;
  const int repeats = argc > 1 ? std::atoi(argv[1]) : 5;
  std::printf(
      "| ranks | all meet, ms | stop_at, ns | all_gather, us | agree, us | idle CPU, %% | "
      "death known to rank 0, us | to all, ms |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- |\n");
  try {
    for (const int64_t world_size : {2, 64, 1024}) {
      std::vector<Times> all;
      for (int repeat = 0; repeat < repeats; ++repeat) all.push_back(measure(world_size));
      print_median(world_size, all);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
