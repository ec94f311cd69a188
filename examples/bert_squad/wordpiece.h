// BERT's tokenizer: text -> WordPiece ids and where they come from in the text. Equal to Hugging
// Face's fast tokenizer (BertNormalizer, BertPreTokenizer, WordPiece), id for id and offset for
// offset; tests/parity/tokenizer_parity.py holds it to that.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bert_squad {

/// Code points into the input text, half-open.
struct Offset {
  int32_t begin;
  int32_t end;

  bool operator==(const Offset&) const = default;
};

/// One text's tokens, in order, without [CLS] and [SEP].
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<Offset> offsets;  // one per id

  bool operator==(const Encoding&) const = default;
};

/// A token that is found in a text as a whole, whatever is around it.
struct AddedToken {
  std::string content;
  bool lstrip = false;  // white space before it belongs to it
  bool rstrip = false;
  /// Whether it is looked for in the normalized text (and normalized itself), not in the text as it
  /// was given.
  bool normalized = false;

  bool operator==(const AddedToken&) const = default;
};

struct WordPieceOptions {
  bool lowercase = true;
  /// None follows `lowercase`, as in transformers.
  std::optional<bool> strip_accents = std::nullopt;
  bool tokenize_chinese_chars = true;
  std::string continuing_subword_prefix = "##";
  /// In code points; longer words are unknown.
  int64_t max_input_chars_per_word = 100;
  // ---- special tokens: found in the text as they are written, before everything else
  std::string unk_token = "[UNK]";
  std::string sep_token = "[SEP]";
  std::string pad_token = "[PAD]";
  std::string cls_token = "[CLS]";
  /// May be empty or absent from the vocabulary; then mask_id() is -1.
  std::string mask_token = "[MASK]";
  /// Other tokens that are found as they are, and special tokens that are found in another way.
  /// Those that aren't in the vocabulary get the ids after it, in order.
  std::vector<AddedToken> added_tokens = {};

  bool operator==(const WordPieceOptions&) const = default;
};

struct WordPieceTables;

class WordPieceTokenizer {
 public:
  /// Name and content of each file.
  using Files = std::vector<std::pair<std::string, std::string>>;

  /// Reads a Hugging Face model folder's tokenizer: tokenizer.json or vocab.txt, and where they are
  /// there tokenizer_config.json, special_tokens_map.json and added_tokens.json. docs/bert_squad.md
  /// says what they may hold; no setting is passed over in silence.
  /// Throws: DataError naming file, setting and value when a file can't be read or used, and when
  /// two files contradict each other.
  static WordPieceTokenizer from_folder(const std::filesystem::path& folder);

  /// The id of a token is its index in `vocab`.
  /// Throws: DataError if `vocab` is empty, has a token twice, or lacks a special token, and for
  /// added tokens that can't be told apart.
  WordPieceTokenizer(std::vector<std::string> vocab, WordPieceOptions options);

  /// Thread-safe.
  /// Throws: DataError with the byte position if the text is not valid UTF-8.
  Encoding encode(std::string_view utf8) const;
  /// encode() of each text on up to `num_threads` threads (at least one runs); the result does not
  /// depend on their number. Throws: as encode(), naming the first bad text by its index.
  std::vector<Encoding> encode_all(const std::vector<std::string>& texts, int num_threads) const;

  int32_t cls_id() const;
  int32_t sep_id() const;
  int32_t pad_id() const;
  int32_t unk_id() const;
  /// -1 when the vocabulary has no mask token.
  int32_t mask_id() const;
  /// With the added tokens.
  int64_t vocab_size() const;
  /// Throws: DataError if `id` is not in [0, vocab_size()).
  const std::string& token(int32_t id) const;
  const WordPieceOptions& options() const;
  /// -1 for what is no token.
  int32_t id_of(const std::string& token) const;

  /// The files that it was made of, name and text; of a tokenizer made from a list of tokens, a
  /// vocab.txt and a tokenizer_config.json. from_folder() and transformers make an equal tokenizer
  /// of them.
  Files files() const;
  /// Writes files(). The folder must exist. Throws: DataError if a file can't be written.
  void save(const std::filesystem::path& folder) const;

 private:
  WordPieceTokenizer(std::vector<std::string> vocab, WordPieceOptions options,
                     const std::string& source);
  size_t own_vocab_size() const;  // without the added tokens

  std::shared_ptr<const WordPieceTables> tables_;  // immutable, so copies share it
  std::shared_ptr<const Files> files_;             // that it was made of, or nullptr
};

}  // namespace bert_squad
