#include <lightning/optim/per_group.h>

#include <algorithm>
#include <cmath>

#include <lightning/config/value_io.h>
#include <lightning/util/error.h>

namespace lightning::optim {

double PerGroup::of(size_t group) const { return values_[std::min(group, values_.size() - 1)]; }

void PerGroup::check(std::string_view schedule, std::string_view option, size_t groups) const {
  LIGHTNING_CHECK(!values_.empty(), ConfigError, schedule, ": ", option,
                  " is not given, expected a number, or one for each of the ", groups,
                  " parameter groups. HINT: set ", option, ".");
  LIGHTNING_CHECK(
      values_.size() == 1 || values_.size() == groups, ConfigError, schedule, ": ", option, " has ",
      values_.size(), " numbers and the optimizer ", groups,
      " parameter groups, expected one for all or one for each. HINT: give one number.");
  const bool usable = std::all_of(values_.begin(), values_.end(), [](double value) {
    return std::isfinite(value) && value >= 0.0;
  });
  LIGHTNING_CHECK(usable, ConfigError, schedule, ": ", option, " is ", to_text(),
                  ", expected finite numbers of 0 or more.");
}

std::string PerGroup::to_text() const {
  if (values_.size() == 1) return detail::concat(values_.front());
  std::string text;
  for (const double value : values_) text += detail::concat(text.empty() ? "" : ", ", value);
  return "[" + text + "]";
}

void PerGroup::read(const config::ConfigNode& node, std::string_view path) {
  if (node.is_null()) {
    values_.clear();
    return;
  }
  std::vector<double> values;
  if (node.kind() == config::ConfigNode::Kind::kList) {
    for (const config::ConfigNode& item : node.items()) {
      values.push_back(config::detail::read_double(
          item, detail::concat(path, ".", static_cast<int64_t>(values.size()))));
    }
  } else {
    values.push_back(config::detail::read_double(node, path));
  }
  values_ = std::move(values);
}

config::ConfigNode PerGroup::to_node() const {
  if (values_.empty()) return {};
  if (values_.size() == 1) return config::detail::write_double(values_.front());
  std::vector<config::ConfigNode> items;
  for (const double value : values_) items.push_back(config::detail::write_double(value));
  return config::ConfigNode::list(std::move(items));
}

}  // namespace lightning::optim
