// How ranks find one another, and whom they don't let in.
#include <catch2/catch.hpp>

#include <filesystem>
#include <future>
#include <thread>

#include <lightning/control/control_plane.h>
#include <lightning/control/detail/connect.h>
#include <lightning/control/detail/find_hub.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

#include "support/temporary_folder.h"
#include "unit/control/control_plane_ranks.h"
#include "unit/control/simulated_rank.h"

using namespace lightning;
using namespace lightning_tests;
using Catch::Contains;
using lightning::detail::Hello;
using lightning::detail::Message;
using lightning::detail::MessageType;
using lightning::detail::Refusal;
using namespace std::chrono_literals;

namespace {

ControlPlaneOptions impatient() {
  ControlPlaneOptions options;
  options.connect_timeout = 1s;
  return options;
}

/// Error of a rank's connect(), on a thread of its own.
std::future<std::string> connect_error(TestRun& run, int64_t rank) {
  return std::async(std::launch::async, [&run, rank]() -> std::string {
    try {
      run.connect(rank)->leave();
    } catch (const DistributedError& error) {
      return error.what();
    }
    return "";
  });
}

std::string refusal_of(TestRun& run, const Hello& hello) {
  SimulatedRank stranger(run.ports.front(), hello);
  const std::optional<Message> answer = stranger.next();
  REQUIRE(answer);
  REQUIRE(answer->type == MessageType::kRefuse);
  return Refusal::decode(answer->body).text;
}

}  // namespace

TEST_CASE("ControlPlane: clients pass over a listener that says nothing") {
  TestRun run(2);
  const Socket silent = Socket::listen("127.0.0.1", {0});
  run.ports.insert(run.ports.begin(), silent.local_port());
  check_all_meet(run);
}

TEST_CASE("ControlPlane: clients pass over a listener that talks of other things") {
  TestRun run(2);
  Socket web = Socket::listen("127.0.0.1", {0});
  run.ports.insert(run.ports.begin(), web.local_port());
  std::thread server([&web] {
    if (auto caller = web.accept(guard())) {
      caller->send_all("HTTP/1.0 400 Bad Request\r\n\r\n", guard());
    }
  });
  check_all_meet(run);
  server.join();
}

TEST_CASE("ControlPlane: clients pass over the hub of another run") {
  TestRun other(2);
  other.run_id = "7.0.1";
  std::future<std::string> other_hub = connect_error(other, 0);
  TestRun run(2);
  run.ports.insert(run.ports.begin(), other.ports.front());
  check_all_meet(run);
  CHECK(connect_error(other, 1).get() == "");
  CHECK(other_hub.get() == "");
}

TEST_CASE("ControlPlane: ranks that start long before rank 0 wait for it") {
  TestRun run(2);
  run.listener = Socket();  // the port is free: there is no listener yet
  std::future<std::string> client = connect_error(run, 1);
  std::this_thread::sleep_for(100ms);
  run.listener = Socket::listen("127.0.0.1", run.ports);
  CHECK(connect_error(run, 0).get() == "");
  CHECK(client.get() == "");
}

TEST_CASE("ControlPlane: rank 0 listens on the next port when one is taken") {
  TestRun run(2);
  const Socket taken = std::move(run.listener);
  run.listener = Socket();
  const uint16_t next = Socket::listen("127.0.0.1", {0}).local_port();
  run.ports = {taken.local_port(), next};
  check_all_meet(run);

  TestRun stuck(2, impatient());
  const Socket all_taken = std::move(stuck.listener);
  CHECK_THAT(connect_error(stuck, 0).get(), Contains(std::to_string(all_taken.local_port())));
}

TEST_CASE("ControlPlane: missing ranks are named to those who came") {
  TestRun run(4, impatient());
  std::future<std::string> second = connect_error(run, 2);
  const std::string first = connect_error(run, 0).get();
  CHECK_THAT(first, Contains("ranks 1, 3 of 4 did not connect within 1 s"));
  CHECK(second.get() == first);
}

TEST_CASE("ControlPlane: a rank without a hub says where it looked") {
  TestRun run(2, impatient());
  run.listener = Socket();
  CHECK_THAT(connect_error(run, 1).get(),
             Contains("rank 1 (") && Contains("run '7.0.0'") && Contains("within 1 s") &&
                 Contains(detail::concat("127.0.0.1:", run.ports.front())));
}

TEST_CASE("ControlPlane: the hub lets in none but its own ranks") {
  TestRun run(3);
  std::future<std::string> hub = connect_error(run, 0);
  SimulatedRank second(run.ports.front(), hello_of(run, 1));
  REQUIRE(second.next()->type == MessageType::kAccept);
  second.confirm();

  Hello hello = hello_of(run, 2);
  hello.run_id = "another";
  CHECK_THAT(refusal_of(run, hello), Contains("a different run"));
  hello = hello_of(run, 2);
  hello.world_size = 4;
  CHECK_THAT(refusal_of(run, hello), Contains("4") && Contains("3"));
  hello = hello_of(run, 3);
  CHECK_THAT(refusal_of(run, hello), Contains("rank 3 isn't one of 3 ranks"));
  hello = hello_of(run, 2);
  hello.version = 99;
  CHECK_THAT(refusal_of(run, hello), Contains("99"));

  // A peer that isn't a rank is disconnected, one that sends nothing disturbs no rank.
  Socket web = Socket::connect("127.0.0.1", run.ports.front(), guard());
  web.send_all("GET / HTTP/1.1\r\nHost: here\r\n\r\n", guard());
  CHECK_THROWS_WITH(web.receive(1, guard()), Contains("closed"));
  const Socket silent = Socket::connect("127.0.0.1", run.ports.front(), guard());

  // A rank that hung up before it was let in may come again.
  { SimulatedRank restless(run.ports.front(), hello_of(run, 2)); }
  SimulatedRank third(run.ports.front(), hello_of(run, 2));
  REQUIRE(third.next()->type == MessageType::kAccept);
  third.confirm();
  for (SimulatedRank* rank : {&second, &third}) {
    CHECK(rank->next()->type == MessageType::kWelcome);
  }
  CHECK_THAT(refusal_of(run, hello_of(run, 0)), Contains("rank 0 is already connected"));
  for (SimulatedRank* rank : {&second, &third}) {
    detail::ExchangePart goodbye;
    goodbye.kind = detail::ExchangeKind::kLeave;
    rank->send(MessageType::kExchange, goodbye.encode());
  }
  for (SimulatedRank* rank : {&second, &third}) {
    CHECK(rank->next()->type == MessageType::kResult);
  }
  { const SimulatedRank ends(std::move(second)); }
  { const SimulatedRank ends(std::move(third)); }
  CHECK(hub.get() == "");
}

TEST_CASE("ControlPlane: a rank refused permanently stops asking") {
  TestRun run(2);
  std::future<std::string> hub = connect_error(run, 0);
  TestRun wrong(3);
  wrong.ports = run.ports;
  CHECK_THAT(connect_error(wrong, 1).get(), Contains("rank 1 expects 3 ranks, rank 0 expects 2"));
  CHECK(connect_error(run, 1).get() == "");
  CHECK(hub.get() == "");
}

TEST_CASE("ControlPlane: a rank that dies before all have come ends the start") {
  TestRun run(3);
  std::future<std::string> hub = connect_error(run, 0);
  {
    SimulatedRank second(run.ports.front(), hello_of(run, 1));
    REQUIRE(second.next()->type == MessageType::kAccept);
    second.confirm();
  }
  CHECK_THAT(hub.get(), Contains("rank 1 (simulated) exited"));
}

TEST_CASE("ControlPlane: nonsense from a rank is a failure that names it") {
  TestRun run(2);
  std::future<std::string> hub = connect_error(run, 0);
  SimulatedRank second(run.ports.front(), hello_of(run, 1));
  REQUIRE(second.next()->type == MessageType::kAccept);
  second.confirm();
  REQUIRE(second.next()->type == MessageType::kWelcome);
  second.send(MessageType::kExchange, "short");
  CHECK_THAT(hub.get(), Contains("rank 1 sent a malformed message"));
}

TEST_CASE("ControlPlane: rank 0 is found through a rendezvous") {
  TestRun run(3);
  run.listener = Socket();
  std::promise<std::string> published;
  std::shared_future<std::string> address = published.get_future().share();
  detail::Rendezvous rendezvous;
  rendezvous.publish = [&](const std::string& text) { published.set_value(text); };
  rendezvous.lookup = [&](Deadline) { return address.get(); };
  std::vector<std::future<void>> ranks;
  for (int64_t rank = 0; rank < 3; ++rank) {
    ranks.push_back(std::async(std::launch::async, [&, rank] {
      Topology topology = run.topology(rank);
      topology.agent_store = true;
      topology.main_ports = {1};  // the agent's, which no rank may touch
      const auto plane = detail::connect_control_plane(topology, {}, {}, rendezvous);
      plane->barrier("met");
      plane->leave();
    }));
  }
  for (auto& rank : ranks) CHECK_NOTHROW(rank.get());
  CHECK_THAT(address.get(), Contains("127.0.0.1:"));

  Topology topology = run.topology(0);
  topology.agent_store = true;
  CHECK_THROWS_WITH(detail::connect_control_plane(topology, {}), Contains("rendezvous"));
}

TEST_CASE("ControlPlane: rank 0 is found through a file, not an older run's") {
  const TemporaryFolder folder;
  const std::string path = folder / "rendezvous";
  write_file_atomically(path, "6.0.0\n127.0.0.1:1\n");
  TestRun run(2);
  run.listener = Socket();
  std::vector<std::future<std::vector<std::string>>> ranks;
  for (int64_t rank = 0; rank < 2; ++rank) {
    ranks.push_back(std::async(std::launch::async, [&, rank] {
      Topology topology = run.topology(rank);
      topology.main_ports.clear();
      topology.rendezvous_file = path;
      const auto plane = detail::connect_control_plane(topology, {});
      auto all = plane->all_gather("x", std::to_string(rank));
      plane->leave();
      return all;
    }));
  }
  for (auto& rank : ranks) CHECK(rank.get() == std::vector<std::string>{"0", "1"});
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("ControlPlane: with several nodes the address is the end of the connection to rank 0") {
  const std::string interface = GENERATE("", "lo");
  TestRun run(2);
  run.listener = Socket::listen("0.0.0.0", {0});
  run.ports = {run.listener.local_port()};
  run.options.interface = interface;
  std::vector<std::future<std::vector<std::string>>> ranks;
  for (int64_t rank = 0; rank < 2; ++rank) {
    Socket listener = rank == 0 ? std::move(run.listener) : Socket();
    ranks.push_back(std::async(std::launch::async, [&, rank,
                                                    listener = std::move(listener)]() mutable {
      Topology topology = run.topology(rank);
      topology.num_nodes = 2;
      topology.node_rank = rank;
      topology.main_host = "localhost";
      const auto plane = detail::connect_control_plane(topology, run.options, std::move(listener));
      auto all = plane->all_gather("addresses", plane->local_address());
      plane->leave();
      return all;
    }));
  }
  for (auto& rank : ranks) {
    CHECK(rank.get() == std::vector<std::string>{"127.0.0.1", "127.0.0.1"});
  }
}

TEST_CASE("ControlPlane: what rank 0 publishes leads to this machine") {
  Topology topology;
  CHECK(detail::published_addresses(topology, {}, 77) == "127.0.0.1:77");
  topology.num_nodes = 2;
  topology.main_host = "node1";
  const std::string all = detail::published_addresses(topology, {}, 77);
  CHECK(all.rfind("node1:77,", 0) == 0);
  for (const NetworkInterface& found : network_interfaces()) {
    CHECK_THAT(all, Contains(found.address + ":77"));
  }
  ControlPlaneOptions options;
  options.interface = "lo";
  CHECK(detail::published_addresses(topology, options, 77) == "127.0.0.1:77");
}
