// What a WordPieceTokenizer works out from its vocabulary and options, once.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

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

struct SpecialToken {
  std::string text;
  int32_t id;
};

struct WordPieceTables {
  /// Throws: DataError that begins with `source`.
  WordPieceTables(std::vector<std::string> vocabulary, WordPieceOptions chosen,
                  const std::string& source);

  std::vector<std::string> vocab;
  WordPieceOptions options;
  VocabTrie trie;
  CharActions actions;
  VocabTrie::Node continuation = VocabTrie::kNoNode;  // "##": pieces inside words are below it
  std::vector<SpecialToken> specials;                 // longest first
  std::array<AsciiChar, 256> ascii;                   // bytes >= 128 are kOther
  int32_t unk = -1, sep = -1, pad = -1, cls = -1, mask = -1;

 private:
  void fill_ascii();
};

}  // namespace bert_squad
