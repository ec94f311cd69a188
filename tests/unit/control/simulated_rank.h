/// A rank that is no more than a connection to the hub: for tests of what ranks do wrong, and for
/// many of them at once.
#pragma once

#include <optional>
#include <string>

#include <lightning/control/detail/connection.h>
#include <lightning/control/detail/message.h>
#include <lightning/util/detail/socket.h>

#include "unit/control/control_plane_ranks.h"

namespace lightning_tests {

lightning::detail::Hello hello_of(const TestRun& run, int64_t rank);

/// Allows as many open files as the system does.
void raise_descriptor_limit();

class SimulatedRank {
 public:
  /// Says hello; the hub's answer is awaited by next().
  SimulatedRank(uint16_t port, const lightning::detail::Hello& hello)
      : connection_(lightning::Socket::connect("127.0.0.1", port, guard())) {
    send(lightning::detail::MessageType::kHello, hello.encode());
  }

  void send(lightning::detail::MessageType type, std::string_view body = {}) {
    connection_.send(type, body);
  }
  void confirm() {
    send(lightning::detail::MessageType::kConfirm, lightning::detail::RemoteStatus().encode());
  }

  /// The next message that isn't a pulse; nothing when the hub closed the connection. Throws at
  /// the guard.
  std::optional<lightning::detail::Message> next();
  /// What has arrived by now.
  std::optional<lightning::detail::Message> poll();
  bool closed() const { return closed_; }
  int descriptor() const { return connection_.socket().descriptor(); }

 private:
  lightning::detail::Connection connection_;
  bool closed_ = false;
};

}  // namespace lightning_tests
