#include <lightning/control/detail/find_hub.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <thread>

#include <lightning/control/detail/failure_text.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

namespace lightning::detail {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A listener that sends nothing delays a rank by this time in the first round; each further
// round has twice the patience, in case it is the hub on a machine under load.
constexpr milliseconds kFirstPatience{2000};
constexpr milliseconds kLastPatience{30'000};
constexpr milliseconds kFirstPause{10};
constexpr milliseconds kLastPause{250};
constexpr milliseconds kFilePause{50};

struct Endpoint {
  std::string host;
  uint16_t port = 0;
};

std::vector<Endpoint> parse_endpoints(const std::string& text) {
  std::vector<Endpoint> endpoints;
  std::istringstream stream(text);
  for (std::string item; std::getline(stream, item, ',');) {
    const size_t colon = item.rfind(':');
    if (colon == std::string::npos) continue;
    Endpoint endpoint{item.substr(0, colon), 0};
    const char* end = item.data() + item.size();
    const auto parsed = std::from_chars(item.data() + colon + 1, end, endpoint.port);
    if (parsed.ec == std::errc() && parsed.ptr == end) endpoints.push_back(std::move(endpoint));
  }
  return endpoints;
}

std::vector<Endpoint> endpoints_of(const Topology& topology, const ControlPlaneOptions& options) {
  std::vector<std::string> hosts;
  if (topology.single_node()) {
    hosts = {"127.0.0.1"};
  } else {
    hosts = {topology.main_host};
    // On rank 0's node the name may lead to a loopback address where no process listens.
    if (topology.node_rank == 0) {
      hosts.push_back(options.interface.empty() ? "127.0.0.1"
                                                : address_of_interface(options.interface));
    }
  }
  std::vector<Endpoint> endpoints;
  for (const uint16_t port : topology.main_ports) {
    for (const std::string& host : hosts) endpoints.push_back({host, port});
  }
  return endpoints;
}

std::string text_of(const std::vector<Endpoint>& endpoints) {
  std::string text;
  for (const Endpoint& endpoint : endpoints) {
    text += concat(text.empty() ? "" : ", ", endpoint.host, ":", endpoint.port);
  }
  return text.empty() ? "no address" : text;
}

/// An invalid socket, and why, when the hub isn't there.
Socket try_endpoint(const Endpoint& endpoint, const Hello& hello, Deadline deadline,
                    std::string& problem) {
  Socket socket;
  try {
    socket = Socket::connect(endpoint.host, endpoint.port, deadline);
  } catch (const DistributedError& error) {
    problem = error.what();
    return {};
  }
  std::string foreign;
  if (greet_hub(socket, hello, deadline, foreign)) return socket;
  problem = concat(endpoint.host, ":", endpoint.port, ": ", foreign);
  return {};
}

}  // namespace

bool greet_hub(Socket& socket, const Hello& hello, Deadline deadline, std::string& foreign) {
  std::optional<Header> header;
  std::string body;
  try {
    socket.send_all(*make_frame(MessageType::kHello, hello.encode()), deadline);
    header = parse_header(socket.receive(kHeaderSize, deadline));
    if (header && header->body_size > kMaxGreeting) header.reset();
    if (header) body = socket.receive(header->body_size, deadline);
  } catch (const DistributedError& error) {
    foreign = concat("no hub answers there: ", error.what());
    return false;
  }
  if (header && header->type == MessageType::kAccept) return true;
  if (!header || header->type != MessageType::kRefuse) {
    foreign = "another service is listening on that port.";
    return false;
  }
  const Refusal refusal = Refusal::decode(body);
  LIGHTNING_CHECK(refusal.other_run, DistributedError, "control plane: ", refusal.text, ".");
  foreign = refusal.text + ".";
  return false;
}

Socket find_hub(const Topology& topology, const ControlPlaneOptions& options,
                const Rendezvous& rendezvous, const Hello& hello, Deadline deadline) {
  milliseconds patience = kFirstPatience;
  milliseconds pause = kFirstPause;
  std::string problem = "nothing was published";
  std::vector<Endpoint> endpoints = endpoints_of(topology, options);
  while (Deadline::clock::now() < deadline) {
    if (rendezvous.lookup) endpoints = parse_endpoints(rendezvous.lookup(deadline));
    for (const Endpoint& endpoint : endpoints) {
      const Deadline attempt_end = std::min(deadline, Deadline::clock::now() + patience);
      Socket socket = try_endpoint(endpoint, hello, attempt_end, problem);
      if (socket.valid()) return socket;
    }
    std::this_thread::sleep_until(std::min(deadline, Deadline::clock::now() + pause));
    patience = std::min(2 * patience, kLastPatience);
    pause = std::min(2 * pause, kLastPause);
  }
  throw DistributedError(
      format("control plane: rank {} ({}) didn't find rank 0 of run '{}' at {} within {}; the last "
             "answer: {} HINT: check that rank 0 is running and reachable from this host.",
             hello.rank, hello.host, hello.run_id, text_of(endpoints),
             seconds_text(options.connect_timeout), problem));
}

Socket open_listener(const Topology& topology, const ControlPlaneOptions& options,
                     const Rendezvous& rendezvous) {
  std::string address = "0.0.0.0";
  if (topology.single_node()) {
    address = "127.0.0.1";
  } else if (!options.interface.empty()) {
    address = address_of_interface(options.interface);
  }
  if (rendezvous.publish) return Socket::listen(address, {0});
  LIGHTNING_CHECK(!topology.agent_store, DistributedError,
                  "control plane: the ports of torchrun's store can't be listened on, a rendezvous "
                  "was expected.");
  return Socket::listen(address, topology.main_ports);
}

std::string published_addresses(const Topology& topology, const ControlPlaneOptions& options,
                                uint16_t port) {
  std::vector<std::string> hosts;
  if (topology.single_node()) {
    hosts = {"127.0.0.1"};
  } else if (!options.interface.empty()) {
    hosts = {address_of_interface(options.interface)};
  } else {
    if (!topology.main_host.empty()) hosts.push_back(topology.main_host);
    for (const NetworkInterface& found : network_interfaces()) {
      if (found.address.rfind("127.", 0) != 0) hosts.push_back(found.address);
    }
    hosts.push_back("127.0.0.1");  // for ranks on this machine when it has no network
  }
  std::string text;
  for (const std::string& host : hosts) text += concat(text.empty() ? "" : ",", host, ":", port);
  return text;
}

Rendezvous file_rendezvous(const std::string& path, const std::string& run_id) {
  Rendezvous rendezvous;
  rendezvous.publish = [path, run_id](const std::string& addresses) {
    try {
      write_file_atomically(path, run_id + "\n" + addresses + "\n");
    } catch (const Error& error) {
      throw DistributedError(
          concat("control plane: rank 0 cannot publish its address: ", error.what()));
    }
  };
  rendezvous.lookup = [path, run_id](Deadline deadline) -> std::string {
    while (true) {
      try {
        std::istringstream text(read_file(path));
        std::string run;
        std::string addresses;
        if (std::getline(text, run) && run == run_id && std::getline(text, addresses)) {
          return addresses;
        }
      } catch (const Error&) {  // not there yet
      }
      if (Deadline::clock::now() >= deadline) return "";
      std::this_thread::sleep_for(kFilePause);
    }
  };
  return rendezvous;
}

}  // namespace lightning::detail
