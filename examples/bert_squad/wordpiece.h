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

struct WordPieceOptions {
  bool lowercase = true;
  /// None follows `lowercase`, as in transformers.
  std::optional<bool> strip_accents = std::nullopt;
  bool tokenize_chinese_chars = true;
  // ---- special tokens: found in the text as they are written, before everything else
  std::string unk_token = "[UNK]";
  std::string sep_token = "[SEP]";
  std::string pad_token = "[PAD]";
  std::string cls_token = "[CLS]";
  /// May be absent from the vocabulary; then mask_id() is -1.
  std::string mask_token = "[MASK]";

  bool operator==(const WordPieceOptions&) const = default;
};

struct WordPieceTables;

class WordPieceTokenizer {
 public:
  /// Reads vocab.txt and, when there, tokenizer_config.json (do_lower_case, strip_accents,
  /// tokenize_chinese_chars and the names of the special tokens) from a Hugging Face model folder.
  /// Throws: DataError naming the file when it can't be read or used.
  static WordPieceTokenizer from_folder(const std::filesystem::path& folder);

  /// The id of a token is its index in `vocab`.
  /// Throws: DataError if `vocab` is empty, has a token twice, or lacks a special token.
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
  int64_t vocab_size() const;
  /// Throws: DataError if `id` is not in [0, vocab_size()).
  const std::string& token(int32_t id) const;
  const WordPieceOptions& options() const;

  /// Writes vocab.txt and tokenizer_config.json, from which from_folder() (and transformers) make
  /// an equal tokenizer. The folder must exist. Throws: DataError if a file can't be written.
  void save(const std::filesystem::path& folder) const;

 private:
  WordPieceTokenizer(std::vector<std::string> vocab, WordPieceOptions options,
                     const std::string& source);

  std::shared_ptr<const WordPieceTables> tables_;  // immutable, so copies share it
};

}  // namespace bert_squad
