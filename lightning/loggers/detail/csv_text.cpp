#include <lightning/loggers/detail/csv_text.h>

#include <algorithm>

namespace lightning::detail {
namespace {

constexpr std::string_view kTime = "time_seconds";

std::string quoted(const std::string& name) {
  if (name.find_first_of(",\"\r\n") == name.npos) return name;
  std::string text = "\"";
  for (const char c : name) text += c == '"' ? "\"\"" : std::string(1, c);
  return text + "\"";
}

/// Reads the cells of a line that may have quoted cells; sets `position` behind its end. An empty
/// list when the line has none.
std::vector<std::string> read_line(const std::string& text, size_t& position) {
  std::vector<std::string> cells(1);
  bool inside_quotes = false;
  while (position < text.size()) {
    const char c = text[position++];
    if (c == '"') {
      if (inside_quotes && position < text.size() && text[position] == '"') {
        cells.back() += text[position++];
      } else {
        inside_quotes = !inside_quotes;
      }
    } else if (!inside_quotes && c == ',') {
      cells.emplace_back();
    } else if (!inside_quotes && c == '\n') {
      return cells;
    } else {
      cells.back() += c;
    }
  }
  return {};
}

}  // namespace

std::optional<CsvTable> CsvTable::parse(std::string text) {
  CsvTable table;
  table.text_ = std::move(text);
  if (table.text_.empty()) return table;
  const std::vector<std::string> header = read_line(table.text_, table.rows_begin_);
  if (header.size() < 3 || header[0] != "step" || header[1] != "epoch" || header.back() != kTime) {
    return std::nullopt;
  }
  table.metrics_.assign(header.begin() + 2, header.end() - 1);
  table.num_rows_ = std::count(table.text_.begin() + static_cast<int64_t>(table.rows_begin_),
                               table.text_.end(), '\n');
  return table;
}

void CsvTable::append_header(std::string& text, const std::vector<std::string>& metrics) {
  text += "step,epoch,";
  for (const std::string& name : metrics) text += quoted(name) + ",";
  text += kTime;
  text += '\n';
}

bool CsvTable::is_reserved(std::string_view name) {
  return name == "step" || name == "epoch" || name == kTime;
}

bool CsvTable::starts_with(const std::vector<std::string>& metrics) const {
  return metrics.size() <= metrics_.size() &&
         std::equal(metrics.begin(), metrics.end(), metrics_.begin());
}

template <typename Body>
void CsvTable::for_each_row(int64_t rows, const Body& body) const {
  size_t begin = rows_begin_;
  for (int64_t row = 0; row < rows; ++row) {
    const size_t end = text_.find('\n', begin);
    body(std::string_view(text_).substr(begin, end - begin));
    begin = end + 1;
  }
}

std::string CsvTable::cut(int64_t rows, size_t num_metrics) const {
  std::string result;
  if (text_.empty()) return result;
  append_header(result, {metrics_.begin(), metrics_.begin() + static_cast<int64_t>(num_metrics)});
  for_each_row(rows, [&](std::string_view row) {
    size_t end = 0;  // of the last cell kept
    for (size_t cell = 0; cell < num_metrics + 2 && end != row.npos; ++cell) {
      end = row.find(',', end + (cell > 0 ? 1 : 0));
    }
    const size_t time = row.rfind(',');
    result += row.substr(0, end);
    if (end != row.npos && time != row.npos) result += row.substr(time);
    result += '\n';
  });
  return result;
}

std::string CsvTable::widen(const std::vector<std::string>& metrics) const {
  std::string result;
  append_header(result, metrics);
  const std::string empty_cells(metrics.size() - metrics_.size(), ',');
  for_each_row(num_rows_, [&](std::string_view row) {
    const size_t time = std::min(row.rfind(','), row.size());
    result += row.substr(0, time);
    result += empty_cells;
    result += row.substr(time);
    result += '\n';
  });
  return result;
}

}  // namespace lightning::detail
