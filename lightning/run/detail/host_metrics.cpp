#include <lightning/run/detail/host_metrics.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include <lightning/util/error.h>

namespace lightning {

void read_row(const LoggedRow& row, MetricMap& into) {
  for (const LoggedValue& value : row) {
    into[value.name] = value.device.defined() ? value.device.item<double>() : value.host;
  }
}

std::vector<MetricMap> split_by_loader(const MetricMap& metrics, int64_t num_loaders) {
  static constexpr std::string_view kSuffix = "/dataloader_idx_";
  std::vector<MetricMap> result(static_cast<size_t>(num_loaders));
  for (const auto& [name, value] : metrics) {
    const size_t at = name.rfind(kSuffix);
    for (size_t i = 0; i < result.size(); ++i) {
      if (at == std::string::npos || name.substr(at + kSuffix.size()) == std::to_string(i)) {
        result[i][name] = value;
      }
    }
  }
  return result;
}

void HostMetrics::merge(LoggedRow row) {
  std::erase_if(row, [this](const LoggedValue& value) {
    const auto known = steps_.find(value.name);
    return known != steps_.end() && value.step < known->second;
  });
  for (LoggedValue& value : row) {
    steps_[value.name] = value.step;
    const auto unread = std::find_if(unread_.begin(), unread_.end(), [&](const LoggedValue& other) {
      return other.name == value.name;
    });
    if (unread != unread_.end()) {
      *unread = std::move(value);
    } else {
      unread_.push_back(std::move(value));
    }
  }
}

void HostMetrics::limit_steps(int64_t step) {
  for (auto& known : steps_) known.second = std::min(known.second, step);
}

const MetricMap& HostMetrics::read() {
  read_row(unread_, values_);
  unread_.clear();
  return values_;
}

std::optional<int64_t> HostMetrics::step_of(std::string_view name) const {
  const auto found = steps_.find(name);
  return found == steps_.end() ? std::nullopt : std::optional(found->second);
}

void HostMetrics::clear() {
  unread_.clear();
  values_.clear();
  steps_.clear();
}

StateDict HostMetrics::state_dict() {
  std::vector<std::string> names;
  std::vector<double> values;
  std::vector<int64_t> steps;
  for (const auto& [name, value] : read()) {
    names.push_back(name);
    values.push_back(value);
    steps.push_back(steps_.at(name));
  }
  StateDict state;
  state.set("names", std::move(names));
  state.set("values", std::move(values));
  state.set("steps", std::move(steps));
  return state;
}

void HostMetrics::load_state_dict(const StateDict& state) {
  const auto& names = state.get<std::vector<std::string>>("names");
  const auto& values = state.get<std::vector<double>>("values");
  const auto& steps = state.get<std::vector<int64_t>>("steps");
  LIGHTNING_CHECK(names.size() == values.size() && names.size() == steps.size(), CheckpointError,
                  "callback_metrics: the checkpoint has ", names.size(), " names, ", values.size(),
                  " values and ", steps.size(), " steps, expected as many of each.");
  clear();
  for (size_t i = 0; i < names.size(); ++i) {
    values_[names[i]] = values[i];
    steps_[names[i]] = steps[i];
  }
}

}  // namespace lightning
