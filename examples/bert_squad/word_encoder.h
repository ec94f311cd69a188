// Encodes one text: splits off special tokens, normalizes, cuts into words, matches pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "wordpiece_tables.h"

namespace bert_squad {

class WordEncoder {
 public:
  /// Both arguments must outlive the encoder. Used once.
  WordEncoder(const WordPieceTables& tables, std::string_view text);

  Encoding run();
  /// The text after normalization, in which no token is looked for. Needs only the tables' actions.
  std::string normalized() &&;

 private:
  using Kind = NormalizedChar::Kind;

  // A combining character that waits for the next starter.
  struct Pending {
    DecomposedChar part;
    int32_t origin;      // code point of the text it was written as
    bool is_first_part;  // of that code point's decomposition
  };

  // Encodes up to `end`, a boundary over which nothing is normalized or joined.
  void run_segment(size_t end);
  // The same where added tokens are to be found in the normalized text.
  void run_normalized_segment(size_t end);
  void collect_normalized(size_t end);
  // Encodes the run of ASCII letters at byte_ when it is a whole word; false leaves it unread.
  bool ascii_word(size_t end);
  // Encodes code points by the general rules, at least to the end of the word at byte_.
  void general_word(size_t end);
  // Reads one code point; true when no word is open behind it.
  bool general_code_point();
  // Carries out an action for the code point of `size` bytes at byte_.
  void emit_action(uint16_t action, size_t size);
  // Takes a normalized character: to the words, or to normal_ while that is collected.
  void emit(const char* bytes, size_t size, int32_t origin, Kind kind);
  void add_letter(const char* bytes, size_t size, int32_t origin);
  void add_reordered(char32_t code);
  void flush_pending();
  void end_word();
  // Matches pieces; `offset(begin, end)` turns bytes of `word` into an Offset.
  template <typename OffsetOf>
  void add_pieces(std::string_view word, OffsetOf offset);

  const WordPieceTables& tables_;
  const std::string_view text_;
  Encoding result_;
  size_t byte_ = 0;         // position in text_...
  int32_t code_point_ = 0;  // ...and the same in code points

  // The open word of the general path.
  std::string word_;
  std::vector<int32_t> origins_;  // code point of the text, per byte of word_
  size_t word_chars_ = 0;
  std::vector<Pending> pending_;
  std::string scratch_;  // a word of ASCII letters

  // The normalized text of a segment.
  bool collects_ = false;
  std::string normal_;
  std::vector<int32_t> normal_origins_;  // per byte
  std::vector<Kind> normal_kinds_;       // per byte
};

}  // namespace bert_squad
