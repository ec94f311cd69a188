// What BERT's normalizer does to each code point, worked out once for a choice of options.
//
// The pinned package runs five passes over a text (clean, isolate Chinese, NFD, drop marks,
// lower case) and two splits. All of them but the reordering of combining marks look at one code
// point at a time, so that they melt into one table: code point -> action.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace bert_squad {

/// One character of normalized text and what it does to words.
struct NormalizedChar {
  enum class Kind : uint8_t { kLetter, kSpace, kIsolated };
  std::array<char, 4> bytes;  // UTF-8
  uint8_t size;
  Kind kind;
};

/// One part of a decomposition.
struct DecomposedChar {
  char32_t value;
  uint8_t combining_rank;  // 0 is a starter
  bool is_mark;            // nonspacing: dropped after reordering
};

class CharActions {
 public:
  /// Actions; a larger number is a replacement.
  enum : uint16_t {
    kKeep,      // a letter that stays as it is
    kDrop,      // vanishes before anything else looks at it
    kSpace,     // ends the word
    kIsolate,   // a separate word, as it is
    kSpaced,    // the same, between two spaces that the normalizer puts there
    kReorder,   // combining: decompose() and sort by rank up to the next starter
    kNumPlain,  // first replacement
  };

  CharActions(bool lowercase, bool strip_accents, bool isolate_chinese);

  uint16_t action(char32_t code) const { return blocks_[block_[code >> 8]][code & 0xFF]; }
  /// What stands for a code point whose action is >= kNumPlain; may be empty. Its first part is
  /// always a starter.
  std::span<const NormalizedChar> replacement(uint16_t action) const;
  /// Canonical decomposition with the properties of its parts; `out` has room for 4.
  size_t decompose(char32_t code, DecomposedChar* out) const;

 private:
  using Block = std::array<uint16_t, 256>;

  void fill_blocks();
  uint16_t make_action(char32_t code, uint8_t flags);
  void add_normalized(char32_t code, std::vector<NormalizedChar>& out) const;

  bool lowercase_;
  bool strip_accents_;
  bool isolate_chinese_;
  std::array<uint16_t, 0x1100> block_;  // which of blocks_ a page of 256 code points uses
  std::vector<Block> blocks_;
  std::vector<NormalizedChar> replaced_;
  std::vector<uint32_t> replaced_begin_ = {0};  // replacement i is [begin[i], begin[i + 1])
};

}  // namespace bert_squad
