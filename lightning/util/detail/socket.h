/// Socket: a TCP connection or listener that ends with its object. Every call is bounded in time.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/util/export.h>

namespace lightning {

using Deadline = std::chrono::steady_clock::time_point;

class LIGHTNING_API Socket {
 public:
  Socket() = default;
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  ~Socket();
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;

  /// Connects to a name or address. Throws DistributedError (refused, unreachable, no such host,
  /// deadline passed).
  static Socket connect(const std::string& host, uint16_t port, Deadline deadline);
  /// Listens on the first of `ports` that is free (0: any) at `address` only ("127.0.0.1",
  /// "0.0.0.0"). Throws DistributedError when none is.
  static Socket listen(const std::string& address, const std::vector<uint16_t>& ports);
  /// Two ends of a connection inside this process.
  static std::pair<Socket, Socket> pair();
  /// A connection, or nothing at the deadline.
  std::optional<Socket> accept(Deadline deadline);

  /// Both throw DistributedError when the other end is gone or the deadline passes.
  void send_all(std::string_view bytes, Deadline deadline);
  std::string receive(size_t count, Deadline deadline);

  /// Numeric address (empty for a pair()) and port of this end.
  std::string local_address() const;
  uint16_t local_port() const;

  bool valid() const { return descriptor_ >= 0; }
  int descriptor() const { return descriptor_; }
  /// Gives the descriptor away.
  int release();

 private:
  int descriptor_ = -1;
};

struct NetworkInterface {
  std::string name;     // "eth0"
  std::string address;  // IPv4
};

/// Those of this machine that have an IPv4 address.
LIGHTNING_API std::vector<NetworkInterface> network_interfaces();
/// First IPv4 address of a network interface ("eth0"). Throws ConfigError listing those there are.
LIGHTNING_API std::string address_of_interface(std::string_view name);

}  // namespace lightning
