/// The text of a CSVLogger's table: step, epoch, metrics..., time_seconds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lightning::detail {

class CsvTable {
 public:
  /// nullopt when the text isn't such a table. An unfinished last line is left out.
  static std::optional<CsvTable> parse(std::string text);
  static void append_header(std::string& text, const std::vector<std::string>& metrics);
  /// Whether the name is that of a column which isn't a metric.
  static bool is_reserved(std::string_view name);

  int64_t num_rows() const { return num_rows_; }
  /// Whether these metrics are its first columns, in this order.
  bool starts_with(const std::vector<std::string>& metrics) const;

  /// The table of the first rows and metrics.
  std::string cut(int64_t rows, size_t num_metrics) const;
  /// The table with metrics added behind its own, their cells empty.
  std::string widen(const std::vector<std::string>& metrics) const;

 private:
  /// Calls `body` with each of the first rows, without its line end.
  template <typename Body>
  void for_each_row(int64_t rows, const Body& body) const;

  std::string text_;
  size_t rows_begin_ = 0;
  int64_t num_rows_ = 0;
  std::vector<std::string> metrics_;
};

}  // namespace lightning::detail
