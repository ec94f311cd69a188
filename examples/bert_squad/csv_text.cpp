#include "csv_text.h"

#include "literal_text.h"

namespace bert_squad {
namespace {

bool ends_line(char character) { return character == '\n' || character == '\r'; }

}  // namespace

bool CsvReader::next(std::vector<std::string>& fields, size_t& position) {
  fields.clear();
  while (at_ < text_.size() && ends_line(text_[at_])) ++at_;
  if (at_ >= text_.size()) return false;
  position = at_;
  for (;;) {
    fields.push_back(field());
    if (at_ >= text_.size() || text_[at_] != delimiter_) return true;
    ++at_;
  }
}

std::string CsvReader::field() {
  std::string result;
  const auto take_plain = [&] {
    const size_t begin = at_;
    while (at_ < text_.size() && text_[at_] != delimiter_ && !ends_line(text_[at_])) ++at_;
    result += text_.substr(begin, at_ - begin);
  };
  if (at_ >= text_.size() || text_[at_] != '"') {
    take_plain();  // quotes within an unquoted field stand for themselves
    return result;
  }
  const size_t opened = at_++;
  for (;;) {
    const size_t quote = text_.find('"', at_);
    if (quote == std::string_view::npos) {
      throw LiteralError(opened, "a quote is opened and never closed, expected a second one");
    }
    result += text_.substr(at_, quote - at_);
    at_ = quote + 1;
    if (at_ >= text_.size() || text_[at_] != '"') break;
    result += '"';
    ++at_;
  }
  take_plain();  // what follows a closing quote belongs to the field
  return result;
}

}  // namespace bert_squad
