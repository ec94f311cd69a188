#include <lightning/distributed/world.h>

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <ctime>
#include <thread>

#include <torch/torch.h>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <lightning/util/detail/socket.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

#include "support/forked_ranks.h"
#include "support/temporary_folder.h"

namespace fs = std::filesystem;
using Catch::Contains;
using Catch::StartsWith;
using lightning::ConfigError;
using lightning::DistributedError;
using lightning::ProcessGroupBackend;
using lightning::Topology;
using lightning::World;
using lightning::WorldOptions;
using lightning_tests::exit_code;
using lightning_tests::expect;
using lightning_tests::fork_process;
using lightning_tests::kWrong;
using lightning_tests::run_world;
using lightning_tests::TemporaryFolder;
using lightning_tests::topology_of;
using lightning_tests::wait_status;

namespace {

at::Tensor sum_of_ranks(World& world) {
  at::Tensor tensor = torch::full({3}, world.group().rank() + 1, at::kDouble);
  world.group().all_reduce(tensor);
  return tensor;
}

}  // namespace

TEST_CASE("a world joins the ranks once for the whole program", "[process]") {
  const std::vector<int> codes = run_world(3, [](World& world) {
    expect(torch::equal(sum_of_ranks(world), torch::full({3}, 6, at::kDouble)), "1 + 2 + 3");
    expect(World::current().get() == &world, "the current world");
    lightning::StateDict own;
    own.set("rank", world.rank());
    own.set("values", torch::full({world.rank()}, world.rank(), at::kHalf));
    const std::vector<lightning::StateDict> states = world.all_gather("states", own);
    expect(states.size() == 3, "a state of each rank");
    for (int64_t rank = 0; rank < 3; ++rank) {
      const lightning::StateDict& state = states[static_cast<size_t>(rank)];
      expect(state.get<int64_t>("rank") == rank, "by rank");
      expect(torch::equal(state.get<at::Tensor>("values"), torch::full({rank}, rank, at::kHalf)),
             "tensors of its own shape");
    }
    expect(World::join(world.topology(), {}).get() == &world, "the same again");
    Topology other = world.topology();
    other.world_size = 4;
    try {
      World::join(other, {});
    } catch (const ConfigError& error) {
      expect(std::string(error.what()).find("4 ranks on cpu are requested, expected the 3 ranks") !=
                 std::string::npos,
             error.what());
      return 0;
    }
    return kWrong;
  });
  CHECK(codes == std::vector<int>{0, 0, 0});
}

TEST_CASE("a world of one needs no other process", "[process]") {
  const std::vector<int> codes = run_world(1, [](World& world) {
    expect(world.size() == 1 && world.is_rank_zero() && world.device() == at::kCPU, "one rank");
    expect(world.group().backend() == "single", "no connections");
    expect(torch::equal(sum_of_ranks(world), torch::ones({3}, at::kDouble)), "1");
    expect(world.control().all_gather("names", "me") == std::vector<std::string>{"me"}, "me");
    return 0;
  });
  CHECK(codes == std::vector<int>{0});
}

TEST_CASE("there is no world before one is joined") { CHECK(World::current() == nullptr); }

TEST_CASE("a fake world has many ranks and is not the world of this process") {
  Topology topology;
  topology.world_size = 1024;
  topology.num_nodes = 128;
  topology.local_world_size = 8;
  const auto world = World::fake(topology, at::kCPU);
  CHECK(world->group().world_size() == 1024);
  CHECK(world->group().backend() == "fake");
  CHECK(world->control().world_size() == 1024);
  CHECK(world->topology().num_nodes == 128);
  CHECK(World::current() == nullptr);
  World::leave(1);
  CHECK_FALSE(world->control().failed());
}

TEST_CASE("ranks of one node share memory, those of several can't", "[process]") {
  const std::vector<int> codes = run_world(2, [](World& world) {
    expect(world.group().backend() == "shared_memory", "shared memory by default");
    expect(torch::equal(sum_of_ranks(world), torch::full({3}, 3, at::kDouble)), "1 + 2");
    return 0;
  });
  CHECK(codes == std::vector<int>{0, 0});

  const TemporaryFolder folder;
  Topology topology = topology_of(0, 2, folder.path());
  topology.num_nodes = 2;
  topology.local_world_size = 1;
  WorldOptions options;
  options.process_group_backend = ProcessGroupBackend::kSharedMemory;
  CHECK_THROWS_WITH(
      World::join(topology, options),
      Contains("process_group_backend is shared_memory on 2 nodes") && Contains("HINT"));
}

TEST_CASE("a broken connection doesn't end a rank by SIGPIPE", "[process]") {
  WorldOptions options;
  options.process_group_backend = ProcessGroupBackend::kGloo;
  const auto body = [](World& world) {
    expect(world.group().backend() == "gloo", "Gloo, which writes to sockets");
    ::raise(SIGPIPE);
    return 0;
  };
  const std::vector<int> codes = run_world(2, body, options);
  CHECK(codes == std::vector<int>{0, 0});
}

TEST_CASE("a rank that ends early waits for the others to leave", "[process]") {
  const std::vector<int> codes = run_world(2, [](World& world) {
    if (world.group().rank() == 1) return 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    return world.control().failed() ? kWrong : 0;
  });
  CHECK(codes == std::vector<int>{0, 0});
}

TEST_CASE("a rank that ends with an error ends the others' collectives", "[process]") {
  const std::vector<int> codes = run_world(2, [](World& world) {
    sum_of_ranks(world);
    world.control().set_status({.global_step = 7, .phase = "training_step"});
    if (world.group().rank() == 1) return 3;
    try {
      sum_of_ranks(world);
    } catch (const DistributedError& error) {
      const std::string text = error.what();
      expect(text.find("rank 1") != std::string::npos, "the rank, " + text);
      expect(text.find("at step 7 in training_step, last collective all_reduce #1") !=
                 std::string::npos,
             "where it was, " + text);
      expect(text.find("the program ended with exit code 3") != std::string::npos, text);
      return 5;
    }
    return kWrong;
  });
  CHECK(codes == std::vector<int>{5, 3});
}

TEST_CASE("a killed rank is named by the others, also to torchrun", "[process]") {
  const TemporaryFolder folder;
  const fs::path error_file = folder.path() / "error.json";
  ::setenv("TORCHELASTIC_ERROR_FILE", error_file.c_str(), 1);
  const std::vector<int> codes = run_world(2, [](World& world) {
    sum_of_ranks(world);
    if (world.group().rank() == 1) {
      ::unsetenv("TORCHELASTIC_ERROR_FILE");
      ::raise(SIGKILL);
    }
    try {
      sum_of_ranks(world);
    } catch (const DistributedError& error) {
      expect(std::string(error.what()).find("rank 1") != std::string::npos, error.what());
      expect(world.control().failure().text == error.what(), "the control plane's text");
      // No collective begins any more.
      try {
        sum_of_ranks(world);
      } catch (const DistributedError&) {
        return 5;
      }
    }
    return kWrong;
  });
  ::unsetenv("TORCHELASTIC_ERROR_FILE");
  CHECK(codes == std::vector<int>{5, -SIGKILL});

  const auto json = nlohmann::json::parse(lightning::read_file(error_file));
  CHECK_THAT(json["message"]["message"].get<std::string>(),
             StartsWith("DistributedError: ") && Contains("rank 1"));
  CHECK(json["message"]["extraInfo"]["py_callstack"] == json["message"]["message"]);
  const int64_t timestamp =
      std::stoll(json["message"]["extraInfo"]["timestamp"].get<std::string>());
  CHECK(std::abs(timestamp - std::time(nullptr)) < 1000);
}

TEST_CASE("a failure while the world is joined is told to torchrun", "[process]") {
  const TemporaryFolder folder;
  const fs::path error_file = folder.path() / "error.json";
  ::setenv("TORCHELASTIC_ERROR_FILE", error_file.c_str(), 1);
  WorldOptions options;
  options.control.connect_timeout = std::chrono::milliseconds(200);
  // The other rank never comes.
  REQUIRE_THROWS_AS(World::join(topology_of(0, 2, folder.path()), options), DistributedError);
  ::unsetenv("TORCHELASTIC_ERROR_FILE");
  CHECK(World::current() == nullptr);
  CHECK_THAT(lightning::read_file(error_file), Contains("DistributedError: "));
}

TEST_CASE("ranks find one another through the store of torchrun's agent", "[process]") {
  int port_pipe[2];
  REQUIRE(::pipe(port_pipe) == 0);
  const pid_t agent = fork_process([&] {
    c10d::TCPStoreOptions options;
    options.port = 0;
    options.isServer = true;
    options.waitWorkers = false;
    const auto store = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
    const uint16_t port = store->getPort();
    expect(::write(port_pipe[1], &port, sizeof(port)) == sizeof(port), "a pipe");
    ::pause();
    return 0;
  });
  uint16_t port = 0;
  REQUIRE(::read(port_pipe[0], &port, sizeof(port)) == sizeof(port));

  std::vector<pid_t> ranks;
  for (int64_t rank = 0; rank < 2; ++rank) {
    ranks.push_back(fork_process([&, rank] {
      // Rank 1 looks the address up before rank 0 has published it.
      if (rank == 0) std::this_thread::sleep_for(std::chrono::milliseconds(200));
      Topology topology = topology_of(rank, 2, "");
      topology.rendezvous_file.clear();
      topology.main_host = "127.0.0.1";
      topology.main_ports = {port};
      topology.agent_store = true;
      const auto world = World::join(topology, {});
      expect(torch::equal(sum_of_ranks(*world), torch::full({3}, 3, at::kDouble)), "1 + 2");
      return 0;
    }));
  }
  for (const pid_t rank : ranks) CHECK(exit_code(rank) == 0);
  ::kill(agent, SIGKILL);
  wait_status(agent);
  ::close(port_pipe[0]);
  ::close(port_pipe[1]);
}

TEST_CASE("an agent's store that is gone is an error in bounded time") {
  WorldOptions options;
  options.control.connect_timeout = std::chrono::milliseconds(500);
  Topology topology = topology_of(0, 2, "");
  topology.rendezvous_file.clear();
  topology.main_host = "127.0.0.1";
  topology.main_ports = {1};
  topology.agent_store = true;
  REQUIRE_THROWS_WITH(World::join(topology, options),
                      Contains("torchrun's agent at 127.0.0.1:1 can't be written"));
}

TEST_CASE("an agent that says nothing is an error in bounded time", "[process]") {
  // Connections are accepted by the kernel; no process reads from them.
  const lightning::Socket silent = lightning::Socket::listen("127.0.0.1", {0});
  const int64_t rank = GENERATE(0, 1);
  const pid_t process = fork_process([&] {
    ::alarm(15);  // a guard: thirty times the timeout
    WorldOptions options;
    options.control.connect_timeout = std::chrono::milliseconds(500);
    Topology topology = topology_of(rank, 2, "");
    topology.rendezvous_file.clear();
    topology.main_host = "127.0.0.1";
    topology.main_ports = {silent.local_port()};
    topology.agent_store = true;
    try {
      World::join(topology, options);
    } catch (const DistributedError& error) {
      const std::string expected =
          rank == 0 ? "can't be written: no answer in time" : "didn't find rank 0 of run 'test'";
      expect(std::string(error.what()).find(expected) != std::string::npos, error.what());
      return 5;
    }
    return kWrong;
  });
  CHECK(exit_code(process) == 5);
}
