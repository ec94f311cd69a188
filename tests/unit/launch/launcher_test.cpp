#include <lightning/launch/launcher.h>

#include <climits>
#include <csignal>
#include <string>
#include <vector>

#include <sched.h>

#include <catch2/catch.hpp>

#include <lightning/cluster/detail/threads_per_rank.h>
#include <lightning/launch/launch_ranks.h>
#include <lightning/launch/line_prefixer.h>
#include <lightning/launch/rank_exit.h>
#include <lightning/util/error.h>
#include <lightning/util/exit_codes.h>

namespace {

using lightning::detail::exit_code_of_run;
using lightning::detail::LinePrefixer;
using lightning::detail::RankExit;

constexpr int kLost = lightning::kPeerFailureExitCode;

RankExit failed(int code) { return {.rank = 1, .code = code}; }
RankExit followed(int code) { return {.rank = 2, .code = code, .follows = true}; }

}  // namespace

TEST_CASE("LinePrefixer gives whole lines whatever the pieces that come") {
  const std::string text = "one\n\ntwo words\nthree";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    std::string written;
    LinePrefixer lines("[rank 1] ", [&](std::string_view bytes) {
      CHECK(bytes.back() == '\n');
      written += bytes;
    });
    for (size_t i = 0; i < text.size(); i += piece) lines.feed(text.substr(i, piece));
    CHECK(written == "[rank 1] one\n[rank 1] \n[rank 1] two words\n");
    lines.finish();
    lines.finish();
    CHECK(written == "[rank 1] one\n[rank 1] \n[rank 1] two words\n[rank 1] three\n");
  }
}

TEST_CASE("LinePrefixer writes many lines at once, but no more than a pipe takes whole") {
  std::vector<size_t> sizes;
  LinePrefixer lines("> ", [&](std::string_view bytes) { sizes.push_back(bytes.size()); });
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "0123456789\n";
  lines.feed(text);
  REQUIRE(sizes.size() == (1000 * 13 + PIPE_BUF - 1) / (PIPE_BUF / 13 * 13));
  for (const size_t size : sizes) CHECK(size <= PIPE_BUF);
}

TEST_CASE("LinePrefixer doesn't keep endless output without a line end") {
  size_t written = 0;
  LinePrefixer lines("> ", [&](std::string_view bytes) { written += bytes.size(); });
  for (int i = 0; i < 5000; ++i) lines.feed(std::string(1000, '.'));
  CHECK(written > 3'000'000);
}

TEST_CASE("The exit code of a run is that of the first failure") {
  CHECK(exit_code_of_run(0, 0, {}) == 0);
  CHECK(exit_code_of_run(3, 0, {}) == 3);
  CHECK(exit_code_of_run(0, 0, {failed(0), failed(4)}) == 4);
  CHECK(exit_code_of_run(3, 1, {failed(4), failed(5)}) == 4);
  CHECK(exit_code_of_run(3, 1, {failed(0), failed(5)}) == 3);
  CHECK(exit_code_of_run(0, 2, {failed(0), failed(0)}) == 0);
}

TEST_CASE("The exit code of a run isn't that of a rank which others' failure ended") {
  CHECK(exit_code_of_run(3, 1, {followed(kLost), failed(5)}) == 3);
  CHECK(exit_code_of_run(kLost, 0, {followed(143), failed(137)}) == 137);
  CHECK(exit_code_of_run(kLost, 1, {failed(139), followed(kLost)}) == 139);
  CHECK(exit_code_of_run(kLost, 2, {followed(kLost), followed(kLost)}) == kLost);
  CHECK(exit_code_of_run(130, 1, {followed(143)}) == 130);
  CHECK(exit_code_of_run(0, 0, {followed(0), followed(143)}) == 143);
}

TEST_CASE("The end of a rank is told with its rank, process and signal") {
  CHECK(describe(RankExit{.rank = 2, .pid = 4711, .code = 137, .signal = 9}) ==
        "rank 2 (pid 4711) ended by signal 9 (Killed)");
  CHECK(describe(RankExit{.rank = 2, .pid = 4711, .code = 3}) ==
        "rank 2 (pid 4711) ended with exit code 3");
}

TEST_CASE("threads_per_rank takes OpenMP's variable, then SLURM's, then a share of the CPUs") {
  using lightning::threads_per_rank;
  lightning::Topology topology;
  CHECK(threads_per_rank({{"OMP_NUM_THREADS", "3"}, {"SLURM_CPUS_PER_TASK", "5"}}, topology) == 3);
  CHECK(threads_per_rank({{"OMP_NUM_THREADS", "4,2"}}, topology) == 4);
  CHECK(threads_per_rank({{"SLURM_CPUS_PER_TASK", "5"}}, topology) == 5);
  CHECK(threads_per_rank({{"OMP_NUM_THREADS", "many"}, {"SLURM_CPUS_PER_TASK", "5"}}, topology) ==
        5);

  cpu_set_t before;
  REQUIRE(sched_getaffinity(0, sizeof(before), &before) == 0);
  const int64_t all = CPU_COUNT(&before);
  CHECK(threads_per_rank({}, topology) == all);
  CHECK(threads_per_rank({{"OMP_NUM_THREADS", "0"}}, topology) == all);
  topology.local_world_size = all + 1;
  CHECK(threads_per_rank({}, topology) == 1);

  // What the process may use, not what the machine has.
  topology.local_world_size = 1;
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  REQUIRE(sched_setaffinity(0, sizeof(one), &one) == 0);
  CHECK(threads_per_rank({}, topology) == 1);
  sched_setaffinity(0, sizeof(before), &before);
}

TEST_CASE("Without launched ranks the launcher's functions change nothing") {
  CHECK(lightning::finish_launched_ranks(5) == 5);
  lightning::watch_launcher();
  CHECK_FALSE(lightning::is_launched_rank());
  lightning::kill_stopped_launcher();
  lightning::forward_signal(SIGTERM);
}

TEST_CASE("launch_ranks refuses what isn't one node's rank 0 of several") {
  lightning::Topology topology;
  CHECK_THROWS_AS(lightning::launch_ranks(topology), lightning::ConfigError);
  topology.world_size = topology.local_world_size = 2;
  topology.global_rank = 1;
  CHECK_THROWS_AS(lightning::launch_ranks(topology), lightning::ConfigError);
  topology.global_rank = 0;
  topology.num_nodes = 2;
  CHECK_THROWS_AS(lightning::launch_ranks(topology), lightning::ConfigError);
}
