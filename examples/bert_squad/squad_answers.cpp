#include "squad_answers.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <initializer_list>
#include <span>
#include <utility>

#include <lightning/metrics/python_text.h>
#include <lightning/util/format.h>

#include "utf8.h"

namespace bert_squad {
namespace {

using lightning::format;
using lightning::metrics::python_lower;
using lightning::metrics::python_split;
using Kind = Literal::Kind;

/// What a message says that a key holds.
std::string shown(const Literal& value) {
  if (value.is(Kind::kText)) return shown_text(value.text);
  return value.is(Kind::kNumber) ? value.text : value.kind_name();
}

/// The whole number that a text such as "11", "11.0" or " 11 " is.
std::optional<int64_t> whole_number(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return std::nullopt;
  text = text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
  const char* end = text.data() + text.size();
  int64_t whole = 0;
  const auto integer = std::from_chars(text.data(), end, whole);
  if (integer.ec == std::errc() && integer.ptr == end) return whole;
  double number = 0.0;
  const auto floating = std::from_chars(text.data(), end, number);
  constexpr double kExact = 9007199254740992.0;  // 2^53: doubles below it hold each whole number
  if (floating.ec != std::errc() || floating.ptr != end || !(std::abs(number) < kExact) ||
      number != std::floor(number)) {
    return std::nullopt;
  }
  return static_cast<int64_t>(number);
}

void read_start(const Literal* value, GivenAnswer& answer) {
  const bool missing = value == nullptr || value->is(Kind::kNull) ||
                       (value->is(Kind::kText) && python_split(value->text).empty());
  if (missing) {
    answer.fault = "the answer has no \"answer_start\"";
    return;
  }
  if (value->is(Kind::kNumber) || value->is(Kind::kText)) answer.start = whole_number(value->text);
  if (!answer.start)
    answer.fault = format("\"answer_start\" is {}, expected a whole number", shown(*value));
}

/// An answer of which nothing can be taken.
GivenAnswer unreadable(std::string fault, size_t position) {
  GivenAnswer answer;
  answer.fault = std::move(fault);
  answer.is_unreadable = true;
  answer.position = position;
  return answer;
}

/// Null and missing texts are blank ones.
GivenAnswer read_answer(const Literal* text, const Literal* start, size_t position) {
  GivenAnswer answer;
  answer.position = position;
  if (text != nullptr && !text->is(Kind::kNull)) {
    if (!text->is(Kind::kText) && !text->is(Kind::kNumber)) {
      return unreadable(format("the \"text\" of an answer is {}, expected a string", shown(*text)),
                        position);
    }
    answer.text = text->text;
  }
  read_start(start, answer);
  return answer;
}

/// {"text": ..., "answer_start": ...}: one text and its place, or a list of each.
void add_pairs(const Literal* text, const Literal* start, size_t position,
               std::vector<GivenAnswer>& answers) {
  if (text == nullptr || !text->is(Kind::kList)) {
    const bool single = start != nullptr && start->is(Kind::kList) && start->items.size() == 1;
    answers.push_back(read_answer(text, single ? &start->items[0] : start, position));
    return;
  }
  // The places in the list's order; a single one without a list is that of the first text.
  std::span<const Literal> starts;
  const bool has_starts = start != nullptr && !start->is(Kind::kNull);
  if (has_starts) {
    starts = start->is(Kind::kList) ? std::span<const Literal>(start->items)
                                    : std::span<const Literal>(start, 1);
  }
  const size_t num_texts = text->items.size();
  const std::string unlike = format(
      "\"text\" has {} items and \"answer_start\" {}, expected as many", num_texts, starts.size());
  for (size_t i = 0; i < std::max(num_texts, starts.size()); ++i) {
    if (i >= num_texts) {
      answers.push_back(unreadable(unlike, position));
      continue;
    }
    const bool has_place = i < starts.size();
    GivenAnswer answer = read_answer(&text->items[i], has_place ? &starts[i] : nullptr, position);
    if (!has_place && has_starts && !answer.is_unreadable) answer.fault = unlike;
    answers.push_back(std::move(answer));
  }
}

void add_answers(const Literal& value, std::vector<GivenAnswer>& answers) {
  if (value.is(Kind::kList)) {
    for (const Literal& item : value.items) {
      if (item.is(Kind::kList) || item.is(Kind::kBool)) {
        answers.push_back(unreadable(format("an answer is {}, expected an object with \"text\" and "
                                            "\"answer_start\"",
                                            shown(item)),
                                     item.position));
      } else if (item.is(Kind::kObject)) {
        add_answers(item, answers);
      } else {
        answers.push_back(read_answer(&item, nullptr, item.position));
      }
    }
  } else if (value.is(Kind::kObject)) {
    const Literal* text = value.find("text");
    if (text == nullptr) {
      answers.push_back(unreadable("key \"text\" of an answer is missing", value.position));
      return;
    }
    add_pairs(text, value.find("answer_start"), value.position, answers);
  } else if (!value.is(Kind::kNull)) {
    throw BadExample(format("\"answers\" is {}, expected an array or an object", shown(value)));
  }
}

/// What a cell of a table holds: the repr() of a Python value, or JSON. All of its parts get the
/// cell's place in the file.
Literal parse_cell(const Literal& cell, GivenAnswers& given) {
  Literal value;
  try {
    value = parse_literal(cell.text, LiteralParser::Notation::kJson, &given.num_lone_surrogates);
  } catch (const LiteralError&) {
    value = parse_literal(cell.text, LiteralParser::Notation::kPython, &given.num_lone_surrogates);
  }
  const auto place = [&](auto& self, Literal& part) -> void {
    part.position = cell.position;
    for (Literal& item : part.items) self(self, item);
  };
  place(place, value);
  return value;
}

/// Whether a text looks like the value of a list or an object.
bool is_written_value(const Literal* value) {
  if (value == nullptr || !value->is(Kind::kText)) return false;
  const size_t first = value->text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return false;
  const std::string_view text = std::string_view(value->text).substr(first);
  return text[0] == '{' || text[0] == '[' || text.starts_with("array(");
}

const Literal* find_any(const Literal& object, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    if (const Literal* found = object.find(key)) return found;
  }
  return nullptr;
}

/// Whether "answers" holds texts alone, beside an "answer_start" of the row.
bool is_column(const Literal& value) {
  if (value.is(Kind::kList)) return value.items.empty() || !value.items[0].is(Kind::kObject);
  return value.is(Kind::kText) && value.text.find_first_not_of(" \t\r\n") != value.text.find('{');
}

/// Columns of their own: plain values, or each a list.
void read_columns(const Literal& row, GivenAnswers& given) {
  const Literal* text = find_any(row, {"answer_text", "answers.text", "answer.text"});
  const Literal* start = find_any(
      row, {"answer_start", "answers.answer_start", "answer.answer_start", "answer_starts"});
  const Literal* plain = find_any(row, {"answers", "answer"});
  if (text == nullptr) text = plain;
  // A "text" alone may be anything, such as the article's; beside a place it is the answer.
  if (text == nullptr && start != nullptr) text = row.find("text");
  if (text == nullptr) return;
  given.has_key = true;
  if (text->is(Kind::kNull)) return;
  Literal parsed_text, parsed_start;
  if (is_written_value(start)) {
    parsed_start = parse_cell(*start, given);
    start = &parsed_start;
    if (is_written_value(text)) {
      parsed_text = parse_cell(*text, given);
      text = &parsed_text;
    }
  }
  add_pairs(text, start, row.position, given.answers);
}

}  // namespace

bool GivenAnswer::is_blank() const { return !is_unreadable && python_split(text).empty(); }

GivenAnswers read_answers(const Literal& question) {
  GivenAnswers given;
  const Literal* value = find_any(question, {"answers", "answer"});
  try {
    if (value == nullptr || (question.find("answer_start") != nullptr && is_column(*value))) {
      read_columns(question, given);
    } else {
      given.has_key = true;
      if (is_written_value(value)) {
        add_answers(parse_cell(*value, given), given.answers);
      } else if (value->is(Kind::kText)) {
        given.answers.push_back(read_answer(value, nullptr, value->position));
      } else {
        add_answers(*value, given.answers);
      }
    }
  } catch (const LiteralError& error) {
    throw BadExample(format("\"answers\" is {}, which is neither JSON nor a Python value ({})",
                            shown_text(value == nullptr ? "" : value->text), error.what()));
  }
  return given;
}

std::optional<bool> read_is_impossible(const Literal& question) {
  const Literal* value = question.find("is_impossible");
  if (value == nullptr || value->is(Kind::kNull)) return std::nullopt;
  if (value->is(Kind::kBool)) return value->boolean;
  if (value->is(Kind::kNumber) || value->is(Kind::kText)) {
    const std::vector<std::string> words = python_split(python_lower(value->text));
    if (words.empty()) return std::nullopt;
    const std::string word = words.size() == 1 ? words[0] : "";
    if (word == "true" || word == "yes" || word == "1" || word == "1.0") return true;
    if (word == "false" || word == "no" || word == "0" || word == "0.0") return false;
  }
  throw BadExample(format("\"is_impossible\" is {}, expected true or false", shown(*value)));
}

std::string read_text(const Literal& object, std::string_view key, bool allow_number) {
  const Literal* value = object.find(key);
  if (value == nullptr) throw BadExample(format("key \"{}\" is missing", key));
  if (!value->is(Kind::kText) && !(allow_number && value->is(Kind::kNumber))) {
    throw BadExample(format("key \"{}\" holds {}, expected a string{}", key, value->kind_name(),
                            allow_number ? " or a number" : ""));
  }
  return value->text;
}

}  // namespace bert_squad
