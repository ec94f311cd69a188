// Prints what detect_topology() finds, as one line of JSON; the message and exit status 1 when it
// throws.
//
// Usage: topology_program [cluster=NAME] [devices=N] [num_nodes=N] [gpus=yes]
//   gpus=yes   counts the GPUs that CUDA_VISIBLE_DEVICES names

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>

#include <lightning/cluster/topology.h>
#include <lightning/util/error.h>

namespace {

lightning::TopologyRequest read_request(int argc, char** argv) {
  lightning::TopologyRequest request;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const auto equals = argument.find('=');
    const std::string value(argument.substr(equals + 1));
    if (argument.starts_with("cluster=")) request.cluster = value;
    if (argument.starts_with("devices=")) request.devices = std::stoll(value);
    if (argument.starts_with("num_nodes=")) request.num_nodes = std::stoll(value);
    if (const char* gpus = std::getenv("CUDA_VISIBLE_DEVICES"); argument == "gpus=yes" && gpus) {
      const std::string_view list = gpus;
      request.visible_gpus = list.empty() ? 0 : 1 + std::count(list.begin(), list.end(), ',');
    }
  }
  return request;
}

void print(const lightning::Topology& topology) {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  std::string ports;
  for (const auto port : topology.main_ports) {
    ports += (ports.empty() ? "" : ", ") + std::to_string(port);
  }
  // In one write, so that the lines of several ranks don't mix.
  std::cout << lightning::detail::concat(
                   "{\"cluster\": \"", topology.cluster, "\", \"rank\": ", topology.global_rank,
                   ", \"world\": ", topology.world_size, ", \"local_rank\": ", topology.local_rank,
                   ", \"local_world\": ", topology.local_world_size,
                   ", \"node\": ", topology.node_rank, ", \"nodes\": ", topology.num_nodes,
                   ", \"device\": ", topology.device_index, ", \"main_host\": \"",
                   topology.main_host, "\", \"run_id\": \"", topology.run_id, "\", \"host\": \"",
                   host.data(), "\", \"ports\": [", ports,
                   "], \"launch\": ", topology.needs_launch ? "true" : "false", ", \"text\": \"",
                   lightning::describe(topology), "\"}\n")
            << std::flush;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    print(detect_topology(lightning::current_environment(), read_request(argc, argv)));
  } catch (const lightning::ConfigError& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
  return 0;
}
