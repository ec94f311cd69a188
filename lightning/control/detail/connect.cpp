#include <lightning/control/detail/connect.h>

#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <utility>

#include <lightning/control/detail/find_hub.h>
#include <lightning/control/detail/tcp_control_plane.h>
#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

// From here on rank 0 needs more descriptors than many systems allow at first.
constexpr int64_t kManyRanks = 500;

void raise_descriptor_limit() {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string host_name() {
  std::array<char, 256> name = {};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "host unknown";
  return name.data();
}

std::unique_ptr<Hub> open_hub(const Topology& topology, const ControlPlaneOptions& options,
                              Socket listener, const Rendezvous& rendezvous, Socket own) {
  if (topology.world_size > kManyRanks) raise_descriptor_limit();
  if (!listener.valid() && topology.world_size > 1) {
    listener = open_listener(topology, options, rendezvous);
  }
  if (rendezvous.publish && listener.valid()) {
    rendezvous.publish(published_addresses(topology, options, listener.local_port()));
  }
  HubOptions hub;
  hub.world_size = topology.world_size;
  hub.run_id = topology.run_id;
  hub.control = options;
  if (!topology.single_node() && !options.interface.empty()) {
    hub.address = address_of_interface(options.interface);
  }
  return std::make_unique<Hub>(std::move(listener), std::move(own), std::move(hub));
}

}  // namespace

std::shared_ptr<ControlPlane> connect_control_plane(const Topology& topology,
                                                    const ControlPlaneOptions& options,
                                                    Socket listener, Rendezvous rendezvous) {
  const Deadline deadline = Deadline::clock::now() + options.connect_timeout;
  // On one node it isn't used, but a wrong name is reported there too, not only when a second node
  // is added.
  const std::string named =
      options.interface.empty() ? std::string() : address_of_interface(options.interface);
  const bool uses_file = !rendezvous.publish && !rendezvous.lookup &&
                         !topology.rendezvous_file.empty() && topology.world_size > 1;
  if (uses_file) rendezvous = file_rendezvous(topology.rendezvous_file, topology.run_id);

  Hello hello;
  hello.run_id = topology.run_id;
  hello.rank = topology.global_rank;
  hello.world_size = topology.world_size;
  hello.host = host_name();

  Socket socket;
  std::unique_ptr<Hub> hub;
  if (topology.global_rank == 0) {
    auto [own, other] = Socket::pair();
    hub = open_hub(topology, options, std::move(listener), rendezvous, std::move(other));
    std::string foreign;
    LIGHTNING_CHECK(greet_hub(own, hello, deadline, foreign), DistributedError,
                    "control plane: rank 0 can't reach its own hub: ", foreign);
    socket = std::move(own);
  } else {
    socket = find_hub(topology, options, rendezvous, hello, deadline);
  }

  std::string address = socket.local_address();
  if (topology.single_node()) {
    address = "127.0.0.1";
  } else if (!named.empty()) {
    address = named;
  }
  auto plane = std::make_shared<TcpControlPlane>(std::move(socket), std::move(hub), hello, options);
  plane->wait_for_all(address, topology.single_node());
  if (uses_file && topology.global_rank == 0) std::remove(topology.rendezvous_file.c_str());
  return plane;
}

}  // namespace lightning::detail
