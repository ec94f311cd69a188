#include <lightning/util/detail/text_table.h>

#include <algorithm>
#include <utility>

namespace lightning {
namespace {

size_t width_of(const std::string& text) {
  // Bytes that continue a UTF-8 character take no column.
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

}  // namespace

TextTable::TextTable(std::vector<std::string> header) : right_(header.size(), false) {
  rows_.push_back(std::move(header));
}

void TextTable::align_right(size_t column) { right_[column] = true; }

void TextTable::add_row(std::vector<std::string> cells) {
  cells.resize(right_.size());
  rows_.push_back(std::move(cells));
}

std::string TextTable::to_text() const {
  std::vector<size_t> widths(right_.size(), 0);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::string text;
  for (size_t r = 0; r < rows_.size(); ++r) {
    std::string line;
    for (size_t i = 0; i < widths.size(); ++i) {
      const std::string padding(widths[i] - width_of(rows_[r][i]), ' ');
      if (i > 0) line += "  ";
      line += right_[i] ? padding + rows_[r][i] : rows_[r][i] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    if (r > 0) text += '\n';
    text += line;
    if (r > 0) continue;
    size_t total = 2 * (widths.size() - 1);
    for (const size_t width : widths) total += width;
    text += '\n';
    text.append(total, '-');
  }
  return text;
}

}  // namespace lightning
