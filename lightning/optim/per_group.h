/// PerGroup: an argument that is one number for all parameter groups, or a list with one for each:
/// PyTorch's "float or list".
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/config/node.h>
#include <lightning/util/export.h>

namespace lightning::optim {

class LIGHTNING_API PerGroup {
 public:
  /// Not given.
  PerGroup() = default;
  PerGroup(double value) : values_{value} {}                            // NOLINT: implicit
  PerGroup(std::initializer_list<double> values) : values_(values) {}   // NOLINT
  PerGroup(std::vector<double> values) : values_(std::move(values)) {}  // NOLINT

  bool empty() const { return values_.empty(); }
  const std::vector<double>& values() const { return values_; }
  /// Of a group that was added later to one of a list: the last one's.
  double of(size_t group) const;
  /// Throws ConfigError unless there is one value, or as many as `groups`, and all are finite and
  /// not negative. `schedule` and `option` are whose.
  void check(std::string_view schedule, std::string_view option, size_t groups) const;

  /// "0.1" or "[0.1, 0.2]".
  std::string to_text() const;
  // As a field of options: a number or a list of numbers.
  void read(const config::ConfigNode& node, std::string_view path);
  config::ConfigNode to_node() const;
  static std::string type_name() { return "number or list of numbers"; }

 private:
  std::vector<double> values_;
};

}  // namespace lightning::optim
