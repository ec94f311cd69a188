#include <lightning/run/detail/host_metrics.h>

#include <string>
#include <string_view>

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

const MetricMap& HostMetrics::read() {
  for (const LoggedRow& row : unread_) read_row(row, values_);
  unread_.clear();
  return values_;
}

void HostMetrics::clear() {
  unread_.clear();
  values_.clear();
}

}  // namespace lightning
