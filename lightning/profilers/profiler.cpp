#include <lightning/profilers/profiler.h>

#include <algorithm>

namespace lightning {

Profiler::Profiler() = default;
Profiler::~Profiler() = default;

int32_t Profiler::action(std::string_view name) {
  const auto number = std::find(names_.begin(), names_.end(), name) - names_.begin();
  if (static_cast<size_t>(number) == names_.size()) names_.emplace_back(name);
  return static_cast<int32_t>(number);
}

void Profiler::do_setup(Stage /*stage*/, const std::filesystem::path& /*run_dir*/,
                        int64_t /*global_rank*/) {}

std::string Profiler::do_summary() const { return {}; }

}  // namespace lightning
