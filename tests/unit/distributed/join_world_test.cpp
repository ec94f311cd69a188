#include <lightning/distributed/join_world.h>

#include <stdlib.h>

#include <catch2/catch.hpp>

#include <lightning/util/error.h>

#include "support/forked_ranks.h"

using lightning::Placement;
using lightning_tests::expect;

namespace {

/// Exit code of a process that runs `body` with these variables and none of a cluster's.
int run_with(const std::map<std::string, std::string>& variables,
             const std::function<int()>& body) {
  return lightning_tests::exit_code(lightning_tests::fork_process([&] {
    for (const char* name : {"SLURM_JOB_ID", "RANK", "WORLD_SIZE", "PMI_RANK", "LSB_JOBID"}) {
      ::unsetenv(name);
    }
    for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
    return body();
  }));
}

const std::map<std::string, std::string> kTorchrun = {{"RANK", "3"},
                                                      {"WORLD_SIZE", "4"},
                                                      {"LOCAL_RANK", "1"},
                                                      {"LOCAL_WORLD_SIZE", "2"},
                                                      {"GROUP_RANK", "1"},
                                                      {"GROUP_WORLD_SIZE", "2"},
                                                      {"MASTER_ADDR", "127.0.0.1"},
                                                      {"MASTER_PORT", "1"},
                                                      {"TORCHELASTIC_RUN_ID", "r"}};

}  // namespace

TEST_CASE("place_rank takes what the cluster started", "[process]") {
  CHECK(run_with(kTorchrun, [] {
          const Placement placement = lightning::place_rank({.accelerator = "cpu"});
          expect(placement.topology.cluster == "torchrun", placement.topology.cluster);
          expect(placement.topology.global_rank == 3, "rank 3");
          expect(placement.topology.local_rank == 1, "local rank 1");
          expect(placement.device == at::kCPU, placement.device.str());
          return 0;
        }) == 0);
}

TEST_CASE("place_rank counts the devices that were asked for", "[process]") {
  CHECK(run_with({}, [] {
          const Placement placement = lightning::place_rank({.accelerator = "cpu", .devices = "3"});
          expect(placement.topology.world_size == 3, "three ranks");
          expect(placement.topology.needs_launch, "to be started by this process");
          return 0;
        }) == 0);
}

TEST_CASE("place_rank refuses a request that the cluster contradicts", "[process]") {
  CHECK(run_with(kTorchrun, [] {
          try {
            lightning::place_rank({.accelerator = "cpu", .devices = "3"});
          } catch (const lightning::ConfigError&) {
            return 0;
          }
          return lightning_tests::kWrong;
        }) == 0);
}

TEST_CASE("join_world without a cluster is a world of one", "[process]") {
  CHECK(run_with({}, [] {
          const auto world = lightning::join_world({.accelerator = "cpu"});
          expect(world->size() == 1 && world->rank() == 0, "one rank");
          expect(lightning::World::current() == world, "the current world");
          return 0;
        }) == 0);
}
