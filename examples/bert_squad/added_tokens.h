// Tokens that are found in a text as they are, before words are cut: special ones such as [SEP] and
// those that were added to a vocabulary.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vocab_trie.h"

namespace bert_squad {

class AddedTokenFinder {
 public:
  struct Pattern {
    std::string text;
    int32_t id;
    bool lstrip;  // white space on the left belongs to the token
    bool rstrip;
  };
  /// Bytes [begin, end) of the text; without a pattern both are its end.
  struct Match {
    const Pattern* pattern;
    size_t begin;
    size_t end;
    size_t next;  // where to look for the next one: the end without white space
  };

  AddedTokenFinder() = default;
  /// Texts must be distinct and not empty.
  explicit AddedTokenFinder(std::vector<Pattern> patterns);

  bool empty() const { return patterns_.empty(); }
  /// The first one at or after `from`, of several there the longest, with the white space that
  /// belongs to it, on the left down to `free`, before which all has been taken. A pattern that
  /// begins with white space that the last one took may begin before `free`, as in the pinned
  /// package.
  Match find(std::string_view text, size_t from, size_t free) const;

 private:
  size_t next_candidate(std::string_view text, size_t from) const;

  std::vector<Pattern> patterns_;
  VocabTrie trie_;
  std::array<bool, 256> is_first_ = {};  // byte of a pattern
  int only_first_ = -1;                  // when all begin with the same byte
};

/// Length in bytes of the white space character that `text` begins with, 0 when there is none.
size_t space_at_begin(std::string_view text);

}  // namespace bert_squad
