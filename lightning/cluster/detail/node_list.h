/// SLURM's short forms: lists of host names ("node[1-3,5],login") and numbers of tasks on each node
/// ("2(x2),1").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/util/export.h>

namespace lightning {

/// The host names in their order, as `scontrol show hostnames` prints them. Names may have several
/// brackets ("gpu-[01-12]-x[1-2]": the last one counts fastest) and text behind them; a range keeps
/// the leading zeros of its first number. Throws ConfigError for anything else.
LIGHTNING_API std::vector<std::string> expand_node_list(std::string_view text);

/// Tasks by node: "2(x2),1" is {2, 2, 1}. Throws ConfigError.
LIGHTNING_API std::vector<int64_t> parse_tasks_per_node(std::string_view text);

}  // namespace lightning
