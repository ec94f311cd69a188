#include <lightning/util/detail/socket.h>

#include <fcntl.h>
#include <catch2/catch.hpp>

#include <string>

#include <lightning/util/error.h>

#include "unit/control/control_plane_ranks.h"

using namespace lightning;
using namespace lightning_tests;
using Catch::Contains;

namespace {

Deadline soon() { return Deadline::clock::now() + std::chrono::milliseconds(50); }

}  // namespace

TEST_CASE("Socket: bytes arrive whole and in order") {
  Socket listener = Socket::listen("127.0.0.1", {0});
  Socket client = Socket::connect("127.0.0.1", listener.local_port(), guard());
  std::optional<Socket> server = listener.accept(guard());
  REQUIRE(server);
  client.send_all("hello ", guard());
  client.send_all("world", guard());
  CHECK(server->receive(11, guard()) == "hello world");
  server->send_all("bye", guard());
  CHECK(client.receive(3, guard()) == "bye");
  CHECK(client.local_address() == "127.0.0.1");
  CHECK(server->local_port() == listener.local_port());
}

TEST_CASE("Socket: host names are resolved") {
  Socket listener = Socket::listen("127.0.0.1", {0});
  CHECK(Socket::connect("localhost", listener.local_port(), guard()).valid());
  CHECK_THROWS_WITH(Socket::connect("no-such-host.invalid", 80, guard()),
                    Contains("no-such-host.invalid"));
}

TEST_CASE("Socket: an address without a listener is an error with the address") {
  uint16_t port = 0;
  { port = Socket::listen("127.0.0.1", {0}).local_port(); }
  CHECK_THROWS_AS(Socket::connect("127.0.0.1", port, guard()), DistributedError);
  CHECK_THROWS_WITH(Socket::connect("127.0.0.1", port, guard()),
                    Contains(lightning::detail::concat("127.0.0.1:", port)) && Contains("refused"));
}

TEST_CASE("Socket: every wait ends at its deadline") {
  Socket listener = Socket::listen("127.0.0.1", {0});
  CHECK_FALSE(listener.accept(soon()));
  Socket client = Socket::connect("127.0.0.1", listener.local_port(), guard());
  CHECK_THROWS_WITH(client.receive(1, soon()), Contains("receive timed out"));
  // More than the buffers on the way hold, and the peer reads nothing.
  CHECK_THROWS_WITH(client.send_all(std::string(64'000'000, 'x'), soon()),
                    Contains("send timed out"));
}

TEST_CASE("Socket: an end that is gone is an error, not a signal") {
  auto [one, other] = Socket::pair();
  other = Socket();
  CHECK_THROWS_WITH(one.receive(1, guard()), Contains("closed"));
  CHECK_THROWS_AS(one.send_all("x", guard()), DistributedError);
}

TEST_CASE("Socket: listen takes the first port that is free") {
  Socket taken = Socket::listen("127.0.0.1", {0});
  Socket free = Socket::listen("127.0.0.1", {0});
  const uint16_t free_port = free.local_port();
  free = Socket();
  CHECK(Socket::listen("127.0.0.1", {taken.local_port(), free_port}).local_port() == free_port);
  CHECK_THROWS_WITH(Socket::listen("127.0.0.1", {taken.local_port()}),
                    Contains(std::to_string(taken.local_port())) && Contains("in use"));
  CHECK_THROWS_AS(Socket::listen("127.0.0.1", {}), DistributedError);
}

TEST_CASE("Socket: children that are executed don't inherit it") {
  Socket listener = Socket::listen("127.0.0.1", {0});
  Socket client = Socket::connect("127.0.0.1", listener.local_port(), guard());
  Socket server = std::move(*listener.accept(guard()));
  for (const Socket* socket : {&listener, &client, &server}) {
    CHECK((::fcntl(socket->descriptor(), F_GETFD) & FD_CLOEXEC) != 0);
  }
}

TEST_CASE("Socket: interfaces have addresses, and unknown ones name those there are") {
  CHECK(address_of_interface("lo") == "127.0.0.1");
  CHECK_THROWS_AS(address_of_interface("nothing0"), ConfigError);
  CHECK_THROWS_WITH(address_of_interface("nothing0"), Contains("nothing0") && Contains("lo"));
}
