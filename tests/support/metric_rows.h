/// Rows of metrics as tests/golden/metrics/record_metrics.py writes them: the step, then name=value
/// in alphabetic order.
#pragma once

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <catch2/catch.hpp>

#include <lightning/loggers/logger.h>

namespace lightning_tests {

using Lines = std::vector<std::string>;

/// A logger that keeps the rows.
class MetricRows : public lightning::Logger {
 public:
  std::string_view name() const override { return "MetricRows"; }
  Lines lines;

 private:
  void do_setup(const lightning::LoggerSetup&) override {}
  void do_log_metrics(const lightning::MetricRow& row) override {
    auto values = row.values;
    std::sort(values.begin(), values.end());
    std::ostringstream line;
    line << row.step;
    for (const auto& [name, value] : values) line << " " << name << "=" << value;
    lines.push_back(line.str());
  }
  void do_flush() override {}
  void do_finalize(std::string_view) override {}
};

/// The rows of a case in a file of tests/golden/metrics/.
inline Lines golden_rows(const std::string& file, const std::string& name) {
  std::ifstream stream("tests/golden/metrics/" + file);
  REQUIRE(stream);
  Lines lines;
  bool inside = false;
  for (std::string line; std::getline(stream, line);) {
    if (std::isalpha(static_cast<unsigned char>(line.front())) != 0) {
      inside = line == name;
    } else if (inside) {
      lines.push_back(line);
    }
  }
  REQUIRE_FALSE(lines.empty());
  return lines;
}

/// Rows count completed steps, one more than Lightning's (docs/hooks.md).
inline std::string with_completed_steps(const std::string& line) {
  const size_t space = line.find(' ');
  return std::to_string(std::stoll(line.substr(0, space)) + 1) + line.substr(space);
}
inline Lines with_completed_steps(Lines lines) {
  for (std::string& line : lines) line = with_completed_steps(line);
  return lines;
}

}  // namespace lightning_tests
