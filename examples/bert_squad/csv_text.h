/// CSV as Python's csv module reads it: RFC 4180, with line ends of any kind.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace bert_squad {

class CsvReader {
 public:
  explicit CsvReader(std::string_view text, char delimiter, size_t begin = 0)
      : text_(text), delimiter_(delimiter), at_(begin) {}

  /// Reads the next record that isn't an empty line; false at the end of the text. `position` is
  /// the byte at which it begins. Throws LiteralError for a quote that is never closed.
  bool next(std::vector<std::string>& fields, size_t& position);

 private:
  /// Up to a delimiter, the end of a line or of the text.
  std::string field();

  std::string_view text_;
  char delimiter_;
  size_t at_;
};

}  // namespace bert_squad
