#include <lightning/util/detail/socket.h>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <future>
#include <memory>
#include <thread>

#include <lightning/util/error.h>

namespace lightning {
namespace {

constexpr int kBacklog = 4096;  // ranks may all come at once

struct Address {
  sockaddr_storage storage = {};
  socklen_t size = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

std::string reason(int error) { return std::generic_category().message(error); }

std::string endpoint(const std::string& host, uint16_t port) {
  return host + ":" + std::to_string(port);
}

int milliseconds_left(Deadline deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Deadline::clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1'000'000));
}

/// False when the deadline passed first.
bool wait_for(int descriptor, short events, Deadline deadline) {
  while (true) {
    pollfd entry = {descriptor, events, 0};
    const int count = ::poll(&entry, 1, milliseconds_left(deadline));
    if (count > 0) return true;
    if (count < 0 && errno != EINTR) return true;  // the next call reports what is wrong
    if (Deadline::clock::now() >= deadline) return false;
  }
}

struct Resolution {
  int error = 0;
  std::vector<Address> addresses;
};

Resolution resolve(const std::string& host, uint16_t port, int flags) {
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  Resolution result;
  result.error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (result.error != 0) return result;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    Address& address = result.addresses.emplace_back();
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    address.size = entry->ai_addrlen;
  }
  ::freeaddrinfo(found);
  return result;
}

std::vector<Address> addresses_of(const std::string& host, uint16_t port, Deadline deadline) {
  Resolution numeric = resolve(host, port, AI_NUMERICHOST);
  if (numeric.error == 0) return numeric.addresses;
  // The resolver knows no deadline: a separate thread asks, and is detached when late.
  std::packaged_task<Resolution()> task([host, port] { return resolve(host, port, 0); });
  std::future<Resolution> answer = task.get_future();
  std::thread(std::move(task)).detach();
  LIGHTNING_CHECK(answer.wait_until(deadline) == std::future_status::ready, DistributedError,
                  "socket: the address of host '", host, "' wasn't found in time.");
  Resolution result = answer.get();
  LIGHTNING_CHECK(result.error == 0, DistributedError, "socket: host '", host,
                  "' has no address: ", ::gai_strerror(result.error), ".");
  return result.addresses;
}

/// 0, or the error number.
int connect_to(const Address& address, Deadline deadline, Socket& result) {
  Socket socket(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return errno;
  if (::connect(socket.descriptor(), address.get(), address.size) != 0) {
    if (errno != EINPROGRESS) return errno;
    if (!wait_for(socket.descriptor(), POLLOUT, deadline)) return ETIMEDOUT;
    int error = 0;
    socklen_t size = sizeof(error);
    ::getsockopt(socket.descriptor(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return error;
  }
  const int on = 1;
  ::setsockopt(socket.descriptor(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  result = std::move(socket);
  return 0;
}

/// 0, or the error number.
int listen_at(const Address& address, Socket& result) {
  Socket socket(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return errno;
  // Connections of an earlier process that linger on the port don't forbid it.
  const int on = 1;
  ::setsockopt(socket.descriptor(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(socket.descriptor(), address.get(), address.size) != 0) return errno;
  if (::listen(socket.descriptor(), kBacklog) != 0) return errno;
  result = std::move(socket);
  return 0;
}

std::string numeric_host(const Address& address) {
  if (address.storage.ss_family != AF_INET && address.storage.ss_family != AF_INET6) return "";
  char host[NI_MAXHOST] = {};
  ::getnameinfo(address.get(), address.size, host, sizeof(host), nullptr, 0, NI_NUMERICHOST);
  return host;
}

Address local_end(int descriptor) {
  Address address;
  address.size = sizeof(address.storage);
  ::getsockname(descriptor, address.get(), &address.size);
  return address;
}

}  // namespace

Socket::~Socket() {
  if (valid()) ::close(descriptor_);
}

Socket::Socket(Socket&& other) noexcept : descriptor_(other.release()) {}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    if (valid()) ::close(descriptor_);
    descriptor_ = other.release();
  }
  return *this;
}

int Socket::release() { return std::exchange(descriptor_, -1); }

Socket Socket::connect(const std::string& host, uint16_t port, Deadline deadline) {
  int error = ETIMEDOUT;
  for (const Address& address : addresses_of(host, port, deadline)) {
    Socket socket;
    error = connect_to(address, deadline, socket);
    if (error == 0) return socket;
  }
  throw DistributedError("socket: no connection to " + endpoint(host, port) + ": " + reason(error) +
                         ".");
}

Socket Socket::listen(const std::string& address, const std::vector<uint16_t>& ports) {
  int error = EADDRNOTAVAIL;
  for (const uint16_t port : ports) {
    const Resolution own = resolve(address, port, AI_NUMERICHOST | AI_PASSIVE);
    LIGHTNING_CHECK(own.error == 0, DistributedError, "socket: can't listen at '", address,
                    "', a numeric address was expected.");
    Socket socket;
    error = listen_at(own.addresses.front(), socket);
    if (error == 0) return socket;
  }
  std::string tried;
  for (const uint16_t port : ports) tried += (tried.empty() ? "" : ", ") + std::to_string(port);
  throw DistributedError("socket: can't listen at " + address + " on any of the ports [" + tried +
                         "]: " + reason(error) + ".");
}

std::pair<Socket, Socket> Socket::pair() {
  int ends[2] = {-1, -1};
  LIGHTNING_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0,
                  DistributedError, "socket: can't make a pair: ", reason(errno), ".");
  return {Socket(ends[0]), Socket(ends[1])};
}

std::optional<Socket> Socket::accept(Deadline deadline) {
  while (wait_for(descriptor_, POLLIN, deadline)) {
    Socket socket(::accept4(descriptor_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket.valid()) {
      const int on = 1;
      ::setsockopt(socket.descriptor(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      return socket;
    }
    // A caller who went away, a signal, or another thread that was faster: keep waiting.
    const bool transient = errno == ECONNABORTED || errno == EINTR || errno == EAGAIN;
    LIGHTNING_CHECK(transient, DistributedError,
                    "socket: can't accept a connection: ", reason(errno), ".");
    if (Deadline::clock::now() >= deadline) break;
  }
  return std::nullopt;
}

void Socket::send_all(std::string_view bytes, Deadline deadline) {
  while (!bytes.empty()) {
    const ssize_t sent =
        ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      LIGHTNING_CHECK(wait_for(descriptor_, POLLOUT, deadline), DistributedError,
                      "socket: send timed out; the peer is not reading.");
    } else {
      LIGHTNING_CHECK(errno == EINTR, DistributedError, "socket: can't send: ", reason(errno), ".");
    }
  }
}

std::string Socket::receive(size_t count, Deadline deadline) {
  std::string bytes(count, '\0');
  size_t filled = 0;
  while (filled < count) {
    const ssize_t got = ::recv(descriptor_, bytes.data() + filled, count - filled, MSG_DONTWAIT);
    LIGHTNING_CHECK(got != 0, DistributedError, "socket: the peer closed the connection.");
    if (got > 0) {
      filled += static_cast<size_t>(got);
    } else if (errno == EAGAIN) {
      LIGHTNING_CHECK(wait_for(descriptor_, POLLIN, deadline), DistributedError,
                      "socket: receive timed out.");
    } else {
      LIGHTNING_CHECK(errno == EINTR, DistributedError, "socket: can't receive: ", reason(errno),
                      ".");
    }
  }
  return bytes;
}

std::string Socket::local_address() const { return numeric_host(local_end(descriptor_)); }

uint16_t Socket::local_port() const {
  const Address address = local_end(descriptor_);
  if (address.storage.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_port);
  }
  if (address.storage.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_port);
  }
  return 0;
}

std::vector<NetworkInterface> network_interfaces() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return {};
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, ::freeifaddrs);
  std::vector<NetworkInterface> found;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET) continue;
    Address address;
    address.size = sizeof(sockaddr_in);
    std::memcpy(&address.storage, entry->ifa_addr, sizeof(sockaddr_in));
    found.push_back({entry->ifa_name, numeric_host(address)});
  }
  return found;
}

std::string address_of_interface(std::string_view name) {
  std::string names;
  for (const NetworkInterface& found : network_interfaces()) {
    if (found.name == name) return found.address;
    names += (names.empty() ? "" : ", ") + found.name;
  }
  throw ConfigError(detail::concat("network interface '", name,
                                   "' doesn't exist or has no IPv4 address, one of [", names,
                                   "] was expected. HINT: leave it empty."));
}

}  // namespace lightning
