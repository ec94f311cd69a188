#include <lightning/cluster/detail/variables.h>

#include <lightning/util/detail/crc32c.h>
#include <lightning/util/detail/strings.h>
#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

// SLURM writes this for values that it doesn't know.
constexpr std::string_view kUnknown = "(null)";

void check_ranks(const Topology& topology) {
  const bool fits =
      topology.world_size >= 1 && topology.global_rank < topology.world_size &&
      topology.local_world_size >= 1 && topology.local_world_size <= topology.world_size &&
      topology.local_rank < topology.local_world_size && topology.num_nodes >= 1 &&
      topology.num_nodes <= topology.world_size && topology.node_rank < topology.num_nodes;
  LIGHTNING_CHECK(
      fits, ConfigError, topology.cluster, ": its variables contradict one another (rank ",
      topology.global_rank, " of ", topology.world_size, ", local rank ", topology.local_rank,
      " of ", topology.local_world_size, ", node ", topology.node_rank, " of ", topology.num_nodes,
      "), expected each rank below its size. HINT: check your script for lines that "
      "set them");
}

/// The one GPU that this process sees is hidden from its neighbours (--gpus-per-task=1), as far as
/// the variables give.
bool sees_only_its_own(const TopologyRequest& request, const Variables& variables) {
  return request.visible_gpus == 1 && variables.has("CUDA_VISIBLE_DEVICES") &&
         variables.number("SLURM_GPUS_ON_NODE").value_or(2) != 1;
}

void check_gpus(const Topology& topology, const TopologyRequest& request,
                const Variables& variables, StartText start) {
  const int64_t ranks = topology.local_world_size;
  if (request.visible_gpus == 0 || request.visible_gpus >= ranks) return;
  if (sees_only_its_own(request, variables)) return;
  const bool is_slurm = topology.cluster == "slurm";
  throw ConfigError(
      concat(topology.cluster, ": rank ", topology.global_rank, " sees ", request.visible_gpus,
             " GPUs and its node runs ", ranks, " ranks, expected one GPU for each. HINT: ",
             is_slurm ? concat("use '#SBATCH --gres=gpu:", ranks, "', or fewer tasks per node: ",
                               start(topology.num_nodes, request.visible_gpus))
                      : start(topology.num_nodes, request.visible_gpus)));
}

}  // namespace

bool Variables::has_all(std::initializer_list<std::string_view> names) const {
  for (const std::string_view name : names) {
    if (!has(name)) return false;
  }
  return true;
}

const std::string* Variables::find(std::string_view name) const {
  const auto found = variables_.find(name);
  if (found == variables_.end() || found->second.empty() || found->second == kUnknown) {
    return nullptr;
  }
  return &found->second;
}

std::string Variables::first_of(std::initializer_list<std::string_view> names) const {
  for (const std::string_view name : names) {
    if (const std::string* value = find(name)) return *value;
  }
  return {};
}

std::optional<int64_t> Variables::number(std::string_view name) const {
  const std::string* text = find(name);
  if (text == nullptr) return std::nullopt;
  const auto value = parse_number<int64_t>(*text);
  LIGHTNING_CHECK(value && *value >= 0, ConfigError, cluster_, ": ", name, " is '", *text,
                  "', expected a number of at least 0. HINT: check your script for a line that "
                  "sets it");
  return value;
}

std::optional<int64_t> Variables::first_number(
    std::initializer_list<std::string_view> names) const {
  for (const std::string_view name : names) {
    if (const auto value = number(name)) return value;
  }
  return std::nullopt;
}

void Variables::require(std::initializer_list<std::string_view> names,
                        std::string_view hint) const {
  std::string missing;
  for (const std::string_view name : names) {
    if (has(name)) continue;
    if (!missing.empty()) missing += ", ";
    missing += name;
  }
  LIGHTNING_CHECK(
      missing.empty(), ConfigError, cluster_, ": ", missing,
      " is not in the environment, expected the variables of a started task. HINT: ", hint);
}

void check_topology(const Topology& topology, const TopologyRequest& request,
                    const std::vector<int64_t>& tasks_per_node, const Variables& variables,
                    StartText start) {
  check_ranks(topology);
  const int64_t nodes = request.num_nodes.value_or(topology.num_nodes);
  const int64_t devices = request.devices.value_or(topology.local_world_size);
  const auto hint = [&] {
    std::string here = concat(" (or trainer.num_nodes: ", topology.num_nodes);
    if (topology.world_size == topology.num_nodes * topology.local_world_size) {
      here += concat(", trainer.devices: ", topology.local_world_size, " for what was started)");
    } else {
      here += " and no trainer.devices, for what was started)";
    }
    return concat(". HINT: ", start(nodes, devices), here);
  };
  LIGHTNING_CHECK(nodes == topology.num_nodes, ConfigError, topology.cluster,
                  ": trainer.num_nodes is ", nodes, " but the tasks run on ", topology.num_nodes,
                  topology.num_nodes == 1 ? " node" : " nodes", ", expected the same number",
                  hint());
  for (size_t node = 0; node < tasks_per_node.size(); ++node) {
    LIGHTNING_CHECK(!request.devices || tasks_per_node[node] == devices, ConfigError,
                    topology.cluster, ": trainer.devices is ", devices, " but node ", node, " of ",
                    topology.num_nodes, " runs ", tasks_per_node[node], " of the ",
                    topology.world_size, " tasks, expected num_nodes x devices = ", nodes, " x ",
                    devices, " = ", nodes * devices, " tasks, ", devices, " on each node", hint());
  }
  check_gpus(topology, request, variables, start);
}

int64_t choose_device(const Topology& topology, const TopologyRequest& request) {
  return request.visible_gpus <= 1 ? 0 : topology.local_rank;
}

void deduce_nodes(Topology& topology, StartText start) {
  const int64_t local = topology.local_world_size;
  const int64_t nodes = local > 0 ? topology.world_size / local : 0;
  const bool even = local > 0 && nodes * local == topology.world_size;
  topology.num_nodes = nodes;
  if (even && topology.global_rank % local == topology.local_rank) {
    topology.node_rank = topology.global_rank / local;
  } else if (even && topology.global_rank / nodes == topology.local_rank) {
    topology.node_rank = topology.global_rank % nodes;
  } else {
    throw ConfigError(concat(topology.cluster, ": rank ", topology.global_rank, " of ",
                             topology.world_size, " is local rank ", topology.local_rank, " of ",
                             local, ", expected the same number of ranks on every node. HINT: ",
                             start(even ? nodes : 2, even ? local : topology.world_size / 2)));
  }
}

std::vector<uint16_t> ports_of(std::string_view run_id) {
  constexpr uint32_t kFirst = 10'000;
  constexpr uint32_t kCount = 20'000;
  constexpr uint32_t kStride = 1'259;  // prime, so that neighbours in the hash don't meet
  const uint32_t hash = crc32c(run_id.data(), run_id.size());
  std::vector<uint16_t> ports;
  for (uint32_t i = 0; i < 16; ++i) {
    ports.push_back(static_cast<uint16_t>(kFirst + (hash % kCount + i * kStride) % kCount));
  }
  return ports;
}

}  // namespace lightning::detail
