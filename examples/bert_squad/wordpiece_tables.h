// What a WordPieceTokenizer works out from its vocabulary and options, once.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "added_tokens.h"
#include "char_actions.h"
#include "vocab_trie.h"
#include "wordpiece.h"

namespace bert_squad {

/// What an ASCII byte does to words; kOther needs the general path.
enum class AsciiKind : uint8_t { kOther, kLetter, kSpace, kIsolated };

struct AsciiChar {
  AsciiKind kind = AsciiKind::kOther;
  char lower = 0;  // the letter that stands for it
  int32_t id = 0;  // of an isolated character
};

struct WordPieceTables {
  /// Throws: DataError that begins with `source`.
  WordPieceTables(std::vector<std::string> vocabulary, WordPieceOptions chosen,
                  const std::string& source);

  /// -1 for what is no token.
  int32_t id_of(const std::string& token) const;

  std::vector<std::string> vocab;  // with the added tokens
  WordPieceOptions options;
  size_t own_size = 0;  // tokens of the vocabulary itself, which words are cut into
  VocabTrie trie;       // of these
  CharActions actions;
  VocabTrie::Node continuation = VocabTrie::kNoNode;  // "##": pieces inside words are below it
  AddedTokenFinder added;                             // in the text as it was given
  AddedTokenFinder added_normalized;                  // in the normalized text
  std::array<AsciiChar, 256> ascii;                   // bytes >= 128 are kOther
  int32_t unk = -1, sep = -1, pad = -1, cls = -1, mask = -1;

 private:
  void add_tokens(const std::string& source);
  void fill_finders(const std::string& source);
  void fill_ascii();
};

}  // namespace bert_squad
