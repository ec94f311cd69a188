/// Variables: typed access to environment variables, with errors that name the cluster; and the
/// parts of detect_topology() that all clusters share.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/cluster/topology.h>

namespace lightning::detail {

class Variables {
 public:
  /// `cluster` is the component that errors name. Keeps a reference to `variables`.
  Variables(const EnvironmentVariables& variables, std::string_view cluster)
      : variables_(variables), cluster_(cluster) {}

  /// True when it is set and not empty.
  bool has(std::string_view name) const { return find(name) != nullptr; }
  bool has_all(std::initializer_list<std::string_view> names) const;
  /// Null when it isn't set, or empty.
  const std::string* find(std::string_view name) const;
  /// The first of these that is set, else empty.
  std::string first_of(std::initializer_list<std::string_view> names) const;
  /// Throws ConfigError when it is set and no integer of at least 0.
  std::optional<int64_t> number(std::string_view name) const;
  /// The first of these that is set.
  std::optional<int64_t> first_number(std::initializer_list<std::string_view> names) const;
  /// Throws ConfigError naming all that aren't set.
  void require(std::initializer_list<std::string_view> names, std::string_view hint) const;

 private:
  const EnvironmentVariables& variables_;
  std::string_view cluster_;
};

/// How the user of a cluster asks for `nodes` nodes with `tasks` tasks each, for HINTs.
using StartText = std::string (*)(int64_t nodes, int64_t tasks);

/// Ranks and sizes in range, the request's nodes and devices, GPUs per rank; `tasks_per_node` as
/// far as it is known. Throws ConfigError.
void check_topology(const Topology& topology, const TopologyRequest& request,
                    const std::vector<int64_t>& tasks_per_node, const Variables& variables,
                    StartText start);

/// Index of the GPU of `topology.local_rank`: 0 when the task sees only its own.
int64_t choose_device(const Topology& topology, const TopologyRequest& request);

/// Fills num_nodes and node_rank where the cluster only gives world, local rank and local size: the
/// same number of ranks on all nodes, laid out node by node or in turns. Throws ConfigError when
/// the numbers fit neither.
void deduce_nodes(Topology& topology, StartText start);

/// Sixteen ports from 10000 to 29999, which lie below the range that Linux takes for outgoing
/// connections (from 32768). A function of the text alone, since all nodes must come to the same.
std::vector<uint16_t> ports_of(std::string_view run_id);

}  // namespace lightning::detail
