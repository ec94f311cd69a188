/// The answers of one question, in whatever form a file has them.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "literal_text.h"

namespace bert_squad {

/// What is wrong with one example.
class BadExample : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  BadExample(const std::string& what, size_t byte) : std::runtime_error(what), position(byte) {}

  std::optional<size_t> position;  // byte of the file; nothing: that of the example
};

/// An answer as it stands in the file.
struct GivenAnswer {
  std::string text;              // blank: there is none
  std::optional<int64_t> start;  // nothing: there is none
  std::string fault;             // of answer_start or of the text; empty: none
  bool is_unreadable = false;    // the fault is that there is no text that could be taken
  size_t position = 0;           // byte of the file

  /// There is no answer, and nothing is wrong with that.
  bool is_blank() const;
};

struct GivenAnswers {
  bool has_key = false;  // the question has a key for answers, whatever its value is
  std::vector<GivenAnswer> answers;
  int64_t num_lone_surrogates = 0;  // in cells that hold JSON or a Python value
};

/// Of a question or a row. What is wrong with one answer is its fault and leaves the others; throws
/// BadExample for a value that is no form of answers.
GivenAnswers read_answers(const Literal& question);

/// The value of is_impossible; nothing when it is missing or null. Throws BadExample for a value
/// that is neither true nor false.
std::optional<bool> read_is_impossible(const Literal& question);

/// The value of a key that must be a text (or a number, where `allow_number` says so: then its
/// text). Throws BadExample.
std::string read_text(const Literal& object, std::string_view key, bool allow_number = false);

}  // namespace bert_squad
