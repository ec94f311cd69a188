#include "literal_text.h"

#include <utility>

#include <lightning/util/format.h>

#include "utf8.h"

namespace bert_squad {
namespace {

using lightning::format;

bool is_digit(char character) { return character >= '0' && character <= '9'; }

bool is_name(char character) {
  return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
         character == '_' || character == '.';
}

bool is_surrogate(char32_t unit) { return unit >= 0xD800 && unit < 0xE000; }

void append(std::string& out, char32_t code_point) {
  char bytes[4];
  out.append(bytes, encode_code_point(code_point, bytes));
}

}  // namespace

const Literal* Literal::find(std::string_view key) const {
  for (size_t i = keys.size(); i-- > 0;) {
    if (keys[i] == key) return &items[i];
  }
  return nullptr;
}

const char* Literal::kind_name() const {
  switch (kind) {
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return boolean ? "true" : "false";
    case Kind::kNumber:
      return "a number";
    case Kind::kText:
      return "a string";
    case Kind::kList:
      return "an array";
    case Kind::kObject:
      break;
  }
  return "an object";
}

char LiteralParser::peek() {
  while (at_ < text_.size()) {
    const char next = text_[at_];
    if (next != ' ' && next != '\n' && next != '\r' && next != '\t') return next;
    ++at_;
  }
  return '\0';
}

void LiteralParser::fail_with_found(const std::string& expected) {
  peek();
  if (at_ >= text_.size()) fail(format("the text ends, expected {}", expected));
  const size_t size = decode_code_point(text_.substr(at_)).size;
  fail(format("found {}, expected {}", shown_text(text_.substr(at_, size)), expected));
}

void LiteralParser::enter() {
  if (++depth_ > kMaxDepth) fail(format("values are nested deeper than {} levels", kMaxDepth));
}

bool LiteralParser::take(char character) {
  if (peek() != character || at_ >= text_.size()) return false;
  ++at_;
  return true;
}

bool LiteralParser::take_comma(char closing) {
  if (take(closing)) return false;
  if (!take(',')) fail_with_found(format("',' or '{}'", closing));
  // Python's repr() of a tuple of one item has a comma at its end.
  return notation_ == Notation::kJson || !take(closing);
}

void LiteralParser::for_each_item(const std::function<void()>& item) {
  enter();
  const char closing = peek() == '(' ? ')' : ']';
  if (!take(closing == ')' ? '(' : '[')) fail_with_found("'['");
  if (!take(closing)) {
    do item();
    while (take_comma(closing));
  }
  --depth_;
}

void LiteralParser::for_each_member(const std::function<void(std::string&& key)>& member) {
  enter();
  if (!take('{')) fail_with_found("'{'");
  if (!take('}')) {
    do {
      const char quote = peek();
      if (quote != '"' && !(quote == '\'' && notation_ == Notation::kPython))
        fail_with_found("a key in quotes");
      std::string key = string();
      if (!take(':')) fail_with_found("':'");
      member(std::move(key));
    } while (take_comma('}'));
  }
  --depth_;
}

Literal LiteralParser::value() {
  Literal value;
  const char first = peek();
  value.position = at_;
  const bool python = notation_ == Notation::kPython;
  if (first == '"' || (python && first == '\'')) {
    value.kind = Literal::Kind::kText;
    value.text = string();
  } else if (first == '{') {
    value.kind = Literal::Kind::kObject;
    for_each_member([&](std::string&& key) {
      value.keys.push_back(std::move(key));
      value.items.push_back(this->value());
    });
  } else if (first == '[' || (python && first == '(')) {
    value.kind = Literal::Kind::kList;
    for_each_item([&] { value.items.push_back(this->value()); });
  } else if (is_digit(first) || (first == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != 'I' &&
                                 text_[at_ + 1] != 'i' && text_[at_ + 1] != 'n')) {
    value.kind = Literal::Kind::kNumber;
    value.text = number();
  } else {
    named_value(value);
  }
  return value;
}

std::string LiteralParser::string() {
  const char quote = text_[at_++];
  std::string result;
  for (;;) {
    const size_t begin = at_;
    while (at_ < text_.size() && text_[at_] != quote && text_[at_] != '\\' &&
           static_cast<unsigned char>(text_[at_]) >= 0x20) {
      ++at_;
    }
    result.append(text_.substr(begin, at_ - begin));
    if (at_ >= text_.size()) {
      at_ = text_.size();
      fail("the text ends within a string, expected its closing quote");
    }
    if (text_[at_] == quote) break;
    if (text_[at_] != '\\') {
      fail(format("a string holds the control character {}, expected an escape such as \\n",
                  shown_text(text_.substr(at_, 1))));
    }
    escape(result, quote);
  }
  ++at_;
  return result;
}

char32_t LiteralParser::hex_digits(int count) {
  char32_t value = 0;
  for (int i = 0; i < count; ++i, ++at_) {
    const char digit = at_ < text_.size() ? text_[at_] : '\0';
    if (is_digit(digit)) {
      value = value * 16 + static_cast<char32_t>(digit - '0');
    } else if ((digit >= 'a' && digit <= 'f') || (digit >= 'A' && digit <= 'F')) {
      value = value * 16 + static_cast<char32_t>((digit | 0x20) - 'a' + 10);
    } else {
      fail_with_found(format("{} hexadecimal digits of an escape", count));
    }
  }
  return value;
}

/// The code point of \uXXXX, or of two such escapes that are a pair of surrogates.
char32_t LiteralParser::code_unit() {
  const char32_t unit = hex_digits(4);
  if (!is_surrogate(unit)) return unit;
  if (unit < 0xDC00 && text_.substr(at_, 2) == "\\u") {
    const size_t next = at_;
    at_ += 2;
    const char32_t low = hex_digits(4);
    if (low >= 0xDC00 && low < 0xE000) return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    at_ = next;  // the second one stands for itself
  }
  ++num_lone_surrogates_;
  return 0xFFFD;
}

void LiteralParser::escape(std::string& out, char quote) {
  const size_t begin = at_++;
  const char kind = at_ < text_.size() ? text_[at_] : '\0';
  constexpr std::string_view kShort = "bfnrt", kMeaning = "\b\f\n\r\t";
  const size_t found = kShort.find(kind);
  ++at_;
  if (kind == '\0' && at_ > text_.size()) {
    at_ = text_.size();
    fail("the text ends within a string, expected its closing quote");
  }
  if (found != std::string_view::npos) return out.push_back(kMeaning[found]);
  if (kind == quote || kind == '\\') return out.push_back(kind);
  if (kind == 'u') return append(out, code_unit());
  if (notation_ == Notation::kJson) {
    if (kind == '/') return out.push_back(kind);
  } else {
    if (kind == '\'' || kind == '"') return out.push_back(kind);
    if (kind == 'x') return append(out, hex_digits(2));
    if (kind == 'U') {
      const char32_t value = hex_digits(8);
      if (value <= 0x10FFFF && !is_surrogate(value)) return append(out, value);
    }
    if (kind == 'a') return out.push_back('\a');
    if (kind == 'v') return out.push_back('\v');
  }
  at_ = begin;
  fail(
      format("{} is no escape, expected one such as \\n or \\u00e9",
             shown_text(text_.substr(begin, 1 + decode_code_point(text_.substr(begin + 1)).size))));
}

size_t LiteralParser::digits() {
  const size_t begin = at_;
  while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
  if (at_ == begin) fail_with_found("a digit");
  return at_ - begin;
}

std::string LiteralParser::number() {
  const size_t begin = at_;
  const auto next = [&] { return at_ < text_.size() ? text_[at_] : '\0'; };
  if (next() == '-') ++at_;
  const bool zero = next() == '0';
  if (digits() > 1 && zero) {
    at_ = begin;
    fail("a number begins with 0, expected no zeros in front");
  }
  if (next() == '.') {
    ++at_;
    // repr() of a NumPy array writes 11. for 11.0.
    if (notation_ == Notation::kJson || is_digit(next())) digits();
  }
  if (next() == 'e' || next() == 'E') {
    ++at_;
    if (next() == '+' || next() == '-') ++at_;
    digits();
  }
  return std::string(text_.substr(begin, at_ - begin));
}

std::string_view LiteralParser::word() {
  const size_t begin = at_;
  if (at_ < text_.size() && text_[at_] == '-') ++at_;
  while (at_ < text_.size() && (is_name(text_[at_]) || (at_ > begin && is_digit(text_[at_]))))
    ++at_;
  return text_.substr(begin, at_ - begin);
}

void LiteralParser::named_value(Literal& value) {
  const size_t begin = at_;
  const std::string_view name = word();
  const auto is_one_of = [name](std::initializer_list<std::string_view> names) {
    for (const std::string_view one : names) {
      if (name == one) return true;
    }
    return false;
  };
  const bool python = notation_ == Notation::kPython;
  if (python ? is_one_of({"True", "False"}) : is_one_of({"true", "false"})) {
    value.kind = Literal::Kind::kBool;
    value.boolean = name == "true" || name == "True";
    return;
  }
  // Python's json module writes NaN and Infinity without quotes, and reads them.
  if (is_one_of({"NaN", "Infinity", "-Infinity"})) return;
  if (python ? is_one_of({"None", "nan", "inf", "-inf"}) : name == "null") return;
  if (python && !name.empty() && peek() == '(') return call(value);
  at_ = begin;
  if (name.empty()) fail_with_found("a value");
  fail(format("found {}, expected a value", shown_text(name)));
}

void LiteralParser::call(Literal& value) {
  enter();
  take('(');
  const size_t position = value.position;
  value = this->value();
  value.position = position;
  while (take_comma(')')) {
    peek();
    word();
    if (take('=')) peek();
    if (is_digit(peek()) || std::string_view("'\"([").find(peek()) != std::string_view::npos) {
      this->value();
    } else {
      word();  // as in dtype=object
    }
  }
  --depth_;
}

Literal parse_literal(std::string_view text, LiteralParser::Notation notation,
                      int64_t* num_lone_surrogates) {
  LiteralParser parser(text, notation);
  Literal value = parser.value();
  if (!parser.at_end()) throw LiteralError(parser.position(), "more follows the value");
  if (num_lone_surrogates != nullptr) *num_lone_surrogates += parser.num_lone_surrogates();
  return value;
}

}  // namespace bert_squad
