/// JSON and Python literals as the tools of the field write them: values with their place in the
/// text. More is taken than JSON allows where Python's json module writes it (NaN, Infinity), and
/// integers keep all of their digits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace bert_squad {

struct Literal {
  enum class Kind : uint8_t { kNull, kBool, kNumber, kText, kList, kObject };

  Kind kind = Kind::kNull;  // kNull also for NaN and the infinities, which stand for missing values
  bool boolean = false;
  size_t position = 0;            // byte at which it begins
  std::string text;               // of a kText; a kNumber as it is written
  std::vector<Literal> items;     // of a kList; the values of a kObject
  std::vector<std::string> keys;  // of a kObject, in the order of `items`

  bool is(Kind other) const { return kind == other; }
  /// The value of a key, the last one when it occurs twice, as in Python; null when there is none.
  const Literal* find(std::string_view key) const;
  /// "a list", "a number", ... for messages.
  const char* kind_name() const;
};

/// What is wrong with a text, and at which byte.
class LiteralError : public std::runtime_error {
 public:
  LiteralError(size_t position, const std::string& what)
      : std::runtime_error(what), position_(position) {}
  size_t position() const { return position_; }

 private:
  size_t position_;
};

/// Reads values one after the other, so that a large file is never there as values as a whole. All
/// functions throw LiteralError. The text must be valid UTF-8 and outlive the parser.
class LiteralParser {
 public:
  enum class Notation : uint8_t {
    kJson,
    /// repr() of dicts, lists, tuples, numbers, texts and NumPy arrays.
    kPython,
  };
  /// Deeper values are refused.
  static constexpr int kMaxDepth = 128;

  explicit LiteralParser(std::string_view text, Notation notation = Notation::kJson,
                         size_t begin = 0)
      : text_(text), notation_(notation), at_(begin) {}

  /// The next character that isn't a blank; '\0' at the end.
  char peek();
  bool at_end() { return peek() == '\0' && at_ >= text_.size(); }
  size_t position() const { return at_; }
  /// Escapes of one half of a surrogate pair without the other, which Python's json module takes;
  /// each was read as U+FFFD.
  int64_t num_lone_surrogates() const { return num_lone_surrogates_; }

  Literal value();
  /// At a '[': calls `item` at each item, which must read it.
  void for_each_item(const std::function<void()>& item);
  /// At a '{': calls `member` with each key, which must read its value.
  void for_each_member(const std::function<void(std::string&& key)>& member);

 private:
  [[noreturn]] void fail(const std::string& what) const { throw LiteralError(at_, what); }
  [[noreturn]] void fail_with_found(const std::string& expected);
  void enter();
  bool take(char character);
  /// After an item: whether another one follows.
  bool take_comma(char closing);
  std::string string();
  void escape(std::string& out, char quote);
  char32_t hex_digits(int count);
  char32_t code_unit();
  std::string number();
  size_t digits();
  std::string_view word();
  void named_value(Literal& value);
  /// After the name of a call, as in array([1, 2], dtype=int32): its first argument is the value.
  void call(Literal& value);

  std::string_view text_;
  Notation notation_;
  size_t at_;
  int depth_ = 0;
  int64_t num_lone_surrogates_ = 0;
};

/// The one value that the whole text is. `num_lone_surrogates`, where given, is raised by those in
/// it.
Literal parse_literal(std::string_view text, LiteralParser::Notation notation,
                      int64_t* num_lone_surrogates = nullptr);

}  // namespace bert_squad
