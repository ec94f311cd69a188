/// A table for the terminal, its columns aligned.
#pragma once

#include <string>
#include <vector>

#include <lightning/util/export.h>

namespace lightning {

class LIGHTNING_API TextTable {
 public:
  explicit TextTable(std::vector<std::string> header);
  /// Columns that hold numbers look better to the right.
  void align_right(size_t column);
  void add_row(std::vector<std::string> cells);
  /// Lines joined by newlines, none at the end: header, rule, rows. Widths count code points.
  std::string to_text() const;

 private:
  std::vector<std::vector<std::string>> rows_;  // the first is the header
  std::vector<bool> right_;
};

}  // namespace lightning
