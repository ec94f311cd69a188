#include <lightning/cluster/detail/threads_per_rank.h>

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

namespace lightning {
namespace {

/// OMP_NUM_THREADS may be a list for nested regions: the first number counts.
std::optional<int64_t> positive(const EnvironmentVariables& variables, std::string_view name) {
  const auto found = variables.find(name);
  if (found == variables.end()) return std::nullopt;
  const std::string& text = found->second;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = end == text.data() + text.size() || *end == ',';
  if (error != std::errc() || !whole || value < 1) return std::nullopt;
  return value;
}

int64_t usable_cpus() {
  // Machines may have more CPUs than a cpu_set_t holds.
  for (int size = CPU_SETSIZE; size <= 1 << 20; size *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(size));
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(size));
    const bool known = ::sched_getaffinity(0, bytes, set) == 0;
    const int64_t count = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return std::max<int64_t>(std::thread::hardware_concurrency(), 1);
}

}  // namespace

int64_t threads_per_rank(const EnvironmentVariables& variables, const Topology& topology) {
  for (const char* name : {"OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"}) {
    if (const auto count = positive(variables, name)) return *count;
  }
  return std::max<int64_t>(usable_cpus() / std::max<int64_t>(topology.local_world_size, 1), 1);
}

}  // namespace lightning
